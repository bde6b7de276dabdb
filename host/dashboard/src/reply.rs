//! Errors as JSON with the right status.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::backend::BackendError;
use crate::dto::ErrorBody;

/// What a route of the plain API answers when it is no success.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    body: ErrorBody,
}

impl Failure {
    pub fn new(status: StatusCode, error: &str, message: impl Into<String>, help: Option<&str>) -> Self {
        let help = help.map(str::to_owned);
        Self { status, body: ErrorBody { error: error.to_owned(), message: message.into(), help } }
    }

    pub fn invalid(message: impl Into<String>, help: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message, Some(help))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer realm=\"belfry\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        let (status, code, help) = match error {
            BackendError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found", None),
            BackendError::Invalid { help, .. } => (StatusCode::BAD_REQUEST, "invalid", help),
            BackendError::Conflict { .. } => (StatusCode::CONFLICT, "conflict", None),
            BackendError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None),
            BackendError::Failed { help, .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal", help),
        };
        Self::new(status, code, message, help.as_deref())
    }
}
