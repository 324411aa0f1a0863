//! Signed tokens (JWS compact serialisation, RFC 7515) and the keys that they are signed
//! with (RFC 7517). Three algorithms are known, each for one type of key: whatever a token
//! says, a public key is never used as a shared secret, and no token is taken unsigned.

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::OidcError;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Keys of one provider that are looked at.
const KEYS_MAX: usize = 64;
/// Bytes of a coordinate of P-256, and of an Ed25519 key.
const COORDINATE_BYTES: usize = 32;

/// How tokens may be signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    fn of(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// A public key, of the one algorithm that it is for.
#[derive(Debug, Clone)]
enum PublicKey {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The point, not compressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    fn algorithm(&self) -> Algorithm {
        match self {
            PublicKey::Rsa { .. } => Algorithm::Rs256,
            PublicKey::P256(_) => Algorithm::Es256,
            PublicKey::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let result = match self {
            PublicKey::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            PublicKey::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            PublicKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
        };
        result.is_ok()
    }
}

/// The keys of a provider that can be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys(Vec<(Option<String>, PublicKey)>);

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// The keys of a JWK set. Those of other types or for other purposes are left out, as
    /// RFC 7517 (section 5) asks.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        let set: KeySet = serde_json::from_slice(document).ok()?;
        let keys = set.keys.into_iter().take(KEYS_MAX);
        Some(Self(keys.filter_map(|key| usable(serde_json::from_value(key).ok()?)).collect()))
    }

    /// Whether a token may be signed with one of these.
    pub(super) fn knows(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    /// Whether one of these has signed the token.
    pub(super) fn verify(&self, token: &Token<'_>) -> bool {
        self.candidates(token).any(|key| key.verifies(token.signed.as_bytes(), &token.signature))
    }

    fn candidates<'a>(&'a self, token: &'a Token<'_>) -> impl Iterator<Item = &'a PublicKey> {
        let fits = move |(kid, key): &&(Option<String>, PublicKey)| {
            key.algorithm() == token.algorithm && (token.kid.is_none() || *kid == token.kid)
        };
        self.0.iter().filter(fits).map(|(_, key)| key)
    }
}

fn usable(jwk: Jwk) -> Option<(Option<String>, PublicKey)> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let bytes = |text: Option<String>| BASE64URL_NOPAD.decode(text?.as_bytes()).ok();
    let coordinate = |text| bytes(text).filter(|bytes| bytes.len() == COORDINATE_BYTES);
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => PublicKey::Rsa { modulus: bytes(jwk.n)?, exponent: bytes(jwk.e)? },
        ("EC", Some("P-256")) => {
            let (x, y) = (coordinate(jwk.x)?, coordinate(jwk.y)?);
            // SEC 1, section 2.3.3: 4 begins a point that is not compressed.
            PublicKey::P256([&[4][..], &x, &y].concat())
        }
        ("OKP", Some("Ed25519")) => PublicKey::Ed25519(coordinate(jwk.x)?),
        _ => return None,
    };
    if jwk.alg.is_some_and(|alg| Algorithm::of(&alg) != Some(key.algorithm())) {
        return None;
    }
    Some((jwk.kid, key))
}

/// A token, taken apart. What it claims is not yet to be believed.
#[derive(Debug)]
pub(super) struct Token<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// # Errors
    /// It is no token, or not signed in one of the known ways.
    pub(super) fn parse(text: &'a str) -> Result<Self, OidcError> {
        let malformed = || OidcError::Token("it is malformed");
        if text.len() > TOKEN_BYTES_MAX {
            return Err(OidcError::Token("it is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| malformed());
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| malformed())?;
        let algorithm = Algorithm::of(&header.alg)
            .ok_or(OidcError::Token("it is not signed with RS256, ES256 or EdDSA"))?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: what is critical and not understood is refused.
            return Err(OidcError::Token("it needs an extension that is not known here"));
        }
        let claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| malformed())?;
        Ok(Self { algorithm, kid: header.kid, signed, signature: decoded(signature)?, claims })
    }

    /// What it claims, once it is verified.
    pub(super) fn into_claims(self) -> Map<String, Value> {
        self.claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515, appendix A.2.
    const RSA_KEY: &str = r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}"#;
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    /// RFC 7515, appendix A.3.
    const EC_KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    /// RFC 8037, appendix A.2.
    const ED_KEY: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// RFC 8037, appendix A.4, whose payload is no JSON object: only its signature counts.
    const ED_SIGNED: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const ED_SIGNATURE: &str =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn keys(document: &str) -> Keys {
        Keys::parse(document.as_bytes()).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfcs_are_verified_each_by_its_own_key() {
        let (rsa, ec) = (Token::parse(RSA_TOKEN).unwrap(), Token::parse(EC_TOKEN).unwrap());
        assert!(keys(RSA_KEY).verify(&rsa) && keys(EC_KEY).verify(&ec));
        assert!(!keys(EC_KEY).knows(&rsa) && !keys(RSA_KEY).verify(&ec));
        let signature = BASE64URL_NOPAD.decode(ED_SIGNATURE.as_bytes()).unwrap();
        let ed = Token {
            algorithm: Algorithm::EdDsa,
            kid: None,
            signed: ED_SIGNED,
            signature,
            claims: Map::new(),
        };
        assert!(keys(ED_KEY).verify(&ed) && !keys(EC_KEY).verify(&ed));
        assert_eq!(rsa.into_claims()["iss"], "joe");
    }

    #[test]
    fn every_changed_bit_is_refused() {
        for (key, token) in [(RSA_KEY, RSA_TOKEN), (EC_KEY, EC_TOKEN)] {
            let (keys, (signed, signature)) = (keys(key), token.rsplit_once('.').unwrap());
            let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                let text = format!("{signed}.{}", BASE64URL_NOPAD.encode(&changed));
                assert!(!keys.verify(&Token::parse(&text).unwrap()), "byte {at}");
            }
            let (_, claims) = signed.split_once('.').unwrap();
            let other = BASE64URL_NOPAD.encode(br#"{"iss":"eve"}"#);
            let text = token.replace(claims, &other);
            assert!(!keys.verify(&Token::parse(&text).unwrap()));
        }
    }

    #[test]
    fn other_algorithms_and_what_is_no_token_are_refused() {
        let with = |header: &str| {
            let (_, rest) = RSA_TOKEN.split_once('.').unwrap();
            Token::parse(&format!("{}.{rest}", BASE64URL_NOPAD.encode(header.as_bytes()))).is_ok()
        };
        for alg in ["none", "None", "HS256", "HS512", "RS1", "PS256", "ES384", "rs256", ""] {
            assert!(!with(&format!(r#"{{"alg":"{alg}"}}"#)), "{alg}");
        }
        assert!(with(r#"{"alg":"RS256"}"#));
        assert!(!with(r#"{"alg":"RS256","crit":["exp"]}"#) && !with(r#"{"alg":"RS256","alg":"none"}"#));
        for text in ["", "a", "a.b", "a.b.c", "..", "é.é.é", &"a.".repeat(40_000)] {
            assert!(Token::parse(text).is_err(), "{text:.20}");
        }
    }

    #[test]
    fn only_keys_for_signatures_of_a_known_type_are_used() {
        let usable = |extra: &str| {
            let document = ED_KEY.replace("\"kty\"", &format!("{extra},\"kty\""));
            keys(&document).0.len()
        };
        assert_eq!(usable(r#""use":"sig""#), 1);
        assert_eq!(usable(r#""use":"enc""#), 0);
        assert_eq!(usable(r#""alg":"EdDSA""#), 1);
        assert_eq!(usable(r#""alg":"HS256""#), 0);
        let mixed = r#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-521","x":"A","y":"A"},{},7]}"#;
        assert_eq!(keys(mixed).0.len(), 0);
        assert!(Keys::parse(b"[]").is_none() && Keys::parse(b"{}").is_none());
        let named = keys(&EC_KEY.replace("\"kty\"", "\"kid\":\"a\",\"kty\""));
        let mut token = Token::parse(EC_TOKEN).unwrap();
        assert!(named.verify(&token));
        token.kid = Some("b".to_owned());
        assert!(!named.knows(&token) && !named.verify(&token));
    }
}
