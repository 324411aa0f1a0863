//! Why a response's body broke off, for the guest.
//!
//! wasmtime-wasi-http 48.0.8 answers `http-error-code` for errors of its own only, and
//! knows none of a body's: a guest could not tell a time-out from a cap. This puts our
//! answer in the place of its.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, IoError, TlsAlertReceivedPayload};
use wasmtime_wasi_http::{Error as WasiError, WasiHttpView};

/// The instance as wasmtime-wasi-http names it.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Replaces `http-error-code` of a linker that has `wasi:http` already.
///
/// # Errors
/// The function cannot be defined.
pub fn replace_http_error_code<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let defined = define(linker);
    linker.allow_shadowing(false);
    defined
}

fn define<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(TYPES)?.func_wrap(
        "http-error-code",
        |mut store: wasmtime::StoreContextMut<'_, T>, (error,): (Resource<IoError>,)| {
            let view = store.data_mut().http();
            Ok((error_code(view.table.get(&error)?),))
        },
    )
}

/// The code of an error that reading or writing a body ended with; `None` when it is not
/// one of `wasi:http`.
pub fn error_code(error: &wasmtime::Error) -> Option<ErrorCode> {
    if let Some(code) = error.downcast_ref::<ErrorCode>() {
        return Some(code.clone());
    }
    Some(match error.downcast_ref::<WasiError>()? {
        WasiError::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        WasiError::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        WasiError::TlsProtocolError => ErrorCode::TlsProtocolError,
        WasiError::TlsCertificateError => ErrorCode::TlsCertificateError,
        WasiError::TlsAlertReceived { alert_id, alert_message } => {
            ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload {
                alert_id: *alert_id,
                alert_message: alert_message.clone(),
            })
        }
        WasiError::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        WasiError::HttpResponseHeaderSectionSize(size) => ErrorCode::HttpResponseHeaderSectionSize(*size),
        WasiError::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        WasiError::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        // The others do not happen to a response that has begun.
        _ => ErrorCode::HttpProtocolError,
    })
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;
    use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

    use super::*;
    use crate::engine::egress::RunEgress;

    struct State(RunEgress, ResourceTable, WasiHttpCtx);

    impl WasiHttpView for State {
        fn http(&mut self) -> WasiHttpCtxView<'_> {
            WasiHttpCtxView { hooks: &mut self.0, table: &mut self.1, ctx: &mut self.2 }
        }
    }

    impl wasmtime_wasi::WasiView for State {
        fn ctx(&mut self) -> wasmtime_wasi::WasiCtxView<'_> {
            unreachable!("nothing is called")
        }
    }

    #[test]
    fn the_function_that_is_replaced_is_the_one_that_is_there() {
        let mut linker = Linker::<State>::new(&wasmtime::Engine::default());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        // Under another name it would not be in the way.
        let error = define(&mut linker).unwrap_err();
        assert!(error.to_string().contains("defined twice"), "{error}");
        replace_http_error_code(&mut linker).unwrap();
    }
}
