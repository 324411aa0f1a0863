"""A module in the place of `ssl`: the names that libraries ask for, and no TLS.

The host encrypts. It checks certificates against the authorities that the operator
trusts, whatever a program says about them here.
"""

import enum
import sys
import types

NO_SOCKETS = "TLS over raw sockets is not available in this sandbox: use https:// URLs"
NO_CLIENT_CERTIFICATES = "client certificates are not available in this sandbox"


class SSLError(OSError):
    library = None
    reason = None


class SSLZeroReturnError(SSLError):
    pass


class SSLWantReadError(SSLError):
    pass


class SSLWantWriteError(SSLError):
    pass


class SSLSyscallError(SSLError):
    pass


class SSLEOFError(SSLError):
    pass


class SSLCertVerificationError(SSLError, ValueError):
    pass


class VerifyMode(enum.IntEnum):
    CERT_NONE = 0
    CERT_OPTIONAL = 1
    CERT_REQUIRED = 2


class TLSVersion(enum.IntEnum):
    MINIMUM_SUPPORTED = -2
    SSLv3 = 768
    TLSv1 = 769
    TLSv1_1 = 770
    TLSv1_2 = 771
    TLSv1_3 = 772
    MAXIMUM_SUPPORTED = -1


class Purpose(enum.Enum):
    SERVER_AUTH = 1
    CLIENT_AUTH = 2


class SSLContext:
    """Takes every option and keeps it; none has an effect."""

    def __init__(self, protocol=16):
        self.protocol = protocol
        self.verify_mode = VerifyMode.CERT_REQUIRED
        self.check_hostname = True
        self.options = 0
        self.verify_flags = 0
        self.minimum_version = TLSVersion.TLSv1_2
        self.maximum_version = TLSVersion.MAXIMUM_SUPPORTED
        self.post_handshake_auth = False
        self.keylog_filename = None
        self.hostname_checks_common_name = False
        self.sni_callback = None

    def _accept(self, *arguments, **options):
        pass

    load_verify_locations = load_default_certs = set_default_verify_paths = _accept
    set_ciphers = set_alpn_protocols = set_npn_protocols = set_ecdh_curve = _accept

    def load_cert_chain(self, *arguments, **options):
        raise SSLError(NO_CLIENT_CERTIFICATES)

    def get_ca_certs(self, binary_form=False):
        return []

    def get_ciphers(self):
        return []

    def cert_store_stats(self):
        return {"x509": 0, "crl": 0, "x509_ca": 0}

    def wrap_socket(self, *arguments, **options):
        raise SSLError(NO_SOCKETS)

    wrap_bio = wrap_socket


class SSLSocket:
    pass


class SSLObject:
    pass


class SSLSession:
    pass


class MemoryBIO:
    def __init__(self):
        raise SSLError(NO_SOCKETS)


def create_default_context(purpose=Purpose.SERVER_AUTH, **options):
    return SSLContext()


def _create_unverified_context(*arguments, **options):
    context = SSLContext()
    context.check_hostname = False
    context.verify_mode = VerifyMode.CERT_NONE
    return context


def get_default_verify_paths():
    return types.SimpleNamespace(
        cafile=None,
        capath=None,
        openssl_cafile_env="SSL_CERT_FILE",
        openssl_cafile="",
        openssl_capath_env="SSL_CERT_DIR",
        openssl_capath="",
    )


def _refuse(*arguments, **options):
    raise SSLError(NO_SOCKETS)


# Values as OpenSSL 3 has them: some libraries compute with them.
_CONSTANTS = {
    "PROTOCOL_SSLv23": 2,
    "PROTOCOL_TLS": 2,
    "PROTOCOL_TLSv1": 3,
    "PROTOCOL_TLSv1_1": 4,
    "PROTOCOL_TLSv1_2": 5,
    "PROTOCOL_TLS_CLIENT": 16,
    "PROTOCOL_TLS_SERVER": 17,
    "OP_ALL": 0x80000050,
    "OP_NO_SSLv2": 0,
    "OP_NO_SSLv3": 0x2000000,
    "OP_NO_TLSv1": 0x4000000,
    "OP_NO_TLSv1_1": 0x10000000,
    "OP_NO_TLSv1_2": 0x8000000,
    "OP_NO_TLSv1_3": 0x20000000,
    "OP_NO_COMPRESSION": 0x20000,
    "OP_NO_TICKET": 0x4000,
    "OP_NO_RENEGOTIATION": 0x40000000,
    "OP_SINGLE_DH_USE": 0,
    "OP_SINGLE_ECDH_USE": 0,
    "OP_IGNORE_UNEXPECTED_EOF": 0x80,
    "OP_ENABLE_KTLS": 0x8,
    "VERIFY_DEFAULT": 0,
    "VERIFY_CRL_CHECK_LEAF": 4,
    "VERIFY_X509_STRICT": 0x20,
    "VERIFY_X509_TRUSTED_FIRST": 0x8000,
    "VERIFY_X509_PARTIAL_CHAIN": 0x80000,
    "HAS_SNI": True,
    "HAS_ALPN": True,
    "HAS_NPN": False,
    "HAS_ECDH": True,
    "HAS_SSLv2": False,
    "HAS_SSLv3": False,
    "HAS_TLSv1": False,
    "HAS_TLSv1_1": False,
    "HAS_TLSv1_2": True,
    "HAS_TLSv1_3": True,
    "HAS_NEVER_CHECK_COMMON_NAME": True,
    "OPENSSL_VERSION": "OpenSSL 3.0.0 (TLS is done by the host)",
    "OPENSSL_VERSION_INFO": (3, 0, 0, 0, 0),
    "OPENSSL_VERSION_NUMBER": 0x30000000,
    "SSL_ERROR_WANT_READ": 2,
    "SSL_ERROR_WANT_WRITE": 3,
    "SSL_ERROR_EOF": 8,
}


def install():
    """Makes this module's names the module `ssl`."""
    module = types.ModuleType("ssl", __doc__)
    for kind in (
        SSLError, SSLZeroReturnError, SSLWantReadError, SSLWantWriteError, SSLSyscallError,
        SSLEOFError, SSLCertVerificationError, VerifyMode, TLSVersion, Purpose, SSLContext,
        SSLSocket, SSLObject, SSLSession, MemoryBIO,
    ):  # fmt: skip
        kind.__module__ = "ssl"
        setattr(module, kind.__name__, kind)
    for name, value in _CONSTANTS.items():
        setattr(module, name, value)
    for member in VerifyMode:
        setattr(module, member.name, member)
    module.CertificateError = SSLCertVerificationError
    module.SOCK_STREAM = 1
    module.socket_error = OSError
    module.create_default_context = create_default_context
    module._create_default_https_context = create_default_context
    module._create_stdlib_context = module._create_unverified_context = _create_unverified_context
    module.get_default_verify_paths = get_default_verify_paths
    module.wrap_socket = module.get_server_certificate = _refuse
    module.match_hostname = lambda certificate, hostname: None
    sys.modules["ssl"] = module
