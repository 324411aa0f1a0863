//! IANA time zones by name, from the database that is built into the program: the same
//! on every machine.

use jiff::tz::TimeZone;

use super::ScheduleError;

/// The zone with this name, in any case.
pub(super) fn find(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZone::get(name)
        .map_err(|_| ScheduleError::Zone { name: name.chars().take(64).collect(), nearest: nearest(name) })
}

/// The zone that was probably meant: `Paris` and `Europe/Pariss` both give
/// `Europe/Paris`. `None` when nothing is near.
fn nearest(name: &str) -> Option<String> {
    let wanted: String = name.trim().to_lowercase().replace(' ', "_").chars().take(64).collect();
    let city = wanted.rsplit('/').next().filter(|city| !city.is_empty())?;
    jiff::tz::db()
        .available()
        .map(|zone| {
            let zone = zone.as_str().to_owned();
            let lower = zone.to_lowercase();
            let zone_city = lower.rsplit('/').next().unwrap_or(&lower);
            let whole = strsim::damerau_levenshtein(&wanted, &lower);
            (whole.min(strsim::damerau_levenshtein(city, zone_city)), whole, zone)
        })
        .filter(|(distance, ..)| *distance * 3 <= wanted.chars().count())
        // Of equals the alphabetically first: the answer is always the same.
        .min()
        .map(|(.., zone)| zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_zone_names_the_nearest() {
        for (name, expected) in [
            ("Europe/Pariss", Some("Europe/Paris")),
            ("Paris", Some("Europe/Paris")),
            ("europe/pari", Some("Europe/Paris")),
            ("New York", Some("America/New_York")),
            ("America/NewYork", Some("America/New_York")),
            ("UTCC", Some("UTC")),
            ("Atlantis/Nowhere-at-all", None),
            ("", None),
            ("/", None),
            (&"x".repeat(100_000), None),
        ] {
            let ScheduleError::Zone { nearest, .. } = find(name).unwrap_err() else { panic!("{name}") };
            assert_eq!(nearest.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn zones_come_from_the_bundled_database() {
        for name in
            ["UTC", "Europe/Paris", "europe/paris", "Australia/Lord_Howe", "Pacific/Apia", "Etc/GMT+12"]
        {
            assert!(find(name).is_ok(), "{name}");
        }
        for name in ["+02:00", "Europe/Paris ", "../Europe/Paris", "EST5EDT4,M3.2.0,M11.1.0", "Local"] {
            assert!(find(name).is_err(), "{name}");
        }
    }
}
