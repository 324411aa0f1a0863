//! Whom we trust: the public certificate authorities, and those of the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificate authorities cannot be read.
    #[error("egress.ca_file {path} cannot be read as PEM certificates")]
    ReadCaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A certificate in it cannot be used.
    #[error("certificate {number} in egress.ca_file {path} cannot be used")]
    AddCertificate {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// There is none in it.
    #[error("egress.ca_file {path} holds no certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The cryptography that is built in does not offer the protocol versions.
    #[error("TLS cannot be set up")]
    SetUp(#[source] rustls::Error),
}

/// The TLS configuration of all outgoing connections: server certificates are always
/// verified, the client has none, HTTP/2 is preferred.
///
/// # Errors
/// `ca_file`, unless it is empty, is not usable.
pub(super) fn client_config(ca_file: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if !ca_file.is_empty() {
        add_file(&mut roots, Path::new(ca_file))?;
    }
    let mut config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::SetUp)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let unreadable = |source| TlsError::ReadCaFile { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let mut number = 0;
    for certificate in certificates {
        number += 1;
        let unusable = |source| TlsError::AddCertificate { path: path.to_owned(), number, source };
        roots.add(certificate.map_err(unreadable)?).map_err(unusable)?;
    }
    if number == 0 {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(content: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = client_config(path.to_str().unwrap()).unwrap_err().to_string();
        error.replace(path.to_str().unwrap(), "FILE")
    }

    #[test]
    fn an_unusable_ca_file_says_what_is_wrong() {
        assert_eq!(message(None), "egress.ca_file FILE cannot be read as PEM certificates");
        assert_eq!(message(Some("hello\n")), "egress.ca_file FILE holds no certificate");
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert_eq!(message(Some(no_base64)), "egress.ca_file FILE cannot be read as PEM certificates");
        let no_certificate = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert_eq!(message(Some(no_certificate)), "certificate 1 in egress.ca_file FILE cannot be used");
    }

    #[test]
    fn the_public_authorities_are_trusted_without_a_file() {
        assert!(client_config("").is_ok());
    }
}
