//! The files that pages are shown with: a style sheet, a few scripts, and the libraries in
//! `host/console/vendor`. All are in the binary, and sent compressed.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::header::{self, HeaderMap};

use crate::server::api::ApiError;
use crate::workflow::Digest;

/// The digest of a file stands in its URL, so that it never has to be asked for again.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Digits of the digest that stand there.
const DIGITS: usize = 12;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    packed: OnceLock<Bytes>,
    path: OnceLock<String>,
}

macro_rules! asset {
    ($name:literal, $type:literal, $path:literal) => {
        Asset {
            name: $name,
            content_type: $type,
            bytes: include_bytes!(concat!("../../../console/", $path)),
            packed: OnceLock::new(),
            path: OnceLock::new(),
        }
    };
}

static ASSETS: [Asset; 10] = [
    asset!("console.css", "text/css; charset=utf-8", "static/console.css"),
    asset!("console.js", "text/javascript; charset=utf-8", "static/console.js"),
    asset!("function.js", "text/javascript; charset=utf-8", "static/function.js"),
    asset!("charts.js", "text/javascript; charset=utf-8", "static/charts.js"),
    asset!("live.js", "text/javascript; charset=utf-8", "static/live.js"),
    asset!("icon.svg", "image/svg+xml", "static/icon.svg"),
    asset!("htmx.js", "text/javascript; charset=utf-8", "vendor/htmx.js"),
    asset!("editor.js", "text/javascript; charset=utf-8", "vendor/editor.js"),
    asset!("uplot.js", "text/javascript; charset=utf-8", "vendor/uplot.js"),
    asset!("uplot.css", "text/css; charset=utf-8", "vendor/uplot.css"),
];

impl Asset {
    fn path(&self) -> &str {
        self.path.get_or_init(|| {
            let digest = Digest::of(self.bytes).to_string();
            format!("/static/{}-{}", &digest[..DIGITS], self.name)
        })
    }

    fn packed(&self) -> Bytes {
        let pack = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let packed = encoder.write_all(self.bytes).and_then(|()| encoder.finish());
            packed.expect("memory takes everything").into()
        };
        self.packed.get_or_init(pack).clone()
    }
}

/// The path of a file.
pub(super) fn path(name: &str) -> &'static str {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    asset.expect("pages name files that there are").path()
}

/// Sends a file.
pub(super) async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let asset = ASSETS.iter().find(|asset| asset.path().rsplit('/').next() == Some(file.as_str()));
    let asset = asset.ok_or(ApiError::NoRoute)?;
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let said = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, FOREVER),
        (header::VARY, "accept-encoding"),
    ];
    if accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        let packed = ([(header::CONTENT_ENCODING, "gzip")], asset.packed());
        return Ok((said, packed).into_response());
    }
    Ok((said, Bytes::from_static(asset.bytes)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_path_names_its_content() {
        let mut paths: Vec<_> = ASSETS.iter().map(Asset::path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), ASSETS.len());
        assert_eq!(path("htmx.js").len(), "/static/".len() + DIGITS + "-htmx.js".len());
        let packed = ASSETS[0].packed();
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
        assert!(plain == ASSETS[0].bytes && packed.len() < plain.len());
    }

    #[test]
    fn vendored_files_are_what_was_vendored() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("console/vendor");
        let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        let listed: Vec<_> = sums.lines().map(|line| line.split_once("  ").unwrap()).collect();
        for (sum, name) in &listed {
            let digest = Digest::of(&std::fs::read(folder.join(name)).unwrap()).to_string();
            assert!(digest.ends_with(sum), "{name} is not what its checksum says");
        }
        for asset in ASSETS.iter().filter(|asset| folder.join(asset.name).exists()) {
            assert!(listed.iter().any(|(_, name)| *name == asset.name), "{} has no checksum", asset.name);
        }
        assert!(listed.iter().filter(|(_, name)| name.starts_with("licences/")).count() >= 5);
    }
}
