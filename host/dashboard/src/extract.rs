//! Query strings and JSON bodies whose refusal is JSON like every other error.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::reply::Failure;

/// A query string.
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query: Result<_, QueryRejection> = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        match query {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(refused) => Err(refusal(refused.status(), refused.body_text())),
        }
    }
}

/// A body of JSON.
pub(crate) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body: Result<_, JsonRejection> = axum::Json::<T>::from_request(request, state).await;
        match body {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(refused) => Err(refusal(refused.status(), refused.body_text())),
        }
    }
}

fn refusal(status: StatusCode, message: String) -> Failure {
    Failure::new(status, "invalid", message, Some("see /api/openapi.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(failure: Failure) -> (StatusCode, serde_json::Value) {
        let response = axum::response::IntoResponse::into_response(failure);
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_refused_query_or_body_is_json_with_its_reason() {
        #[derive(Debug, serde::Deserialize)]
        struct Wanted {
            #[allow(dead_code, reason = "only its parsing matters")]
            limit: u32,
        }
        let request = || Request::builder().uri("/x?limit=many");
        let (mut parts, ()) = request().body(()).unwrap().into_parts();
        let refused = Query::<Wanted>::from_request_parts(&mut parts, &()).await.map(|q| q.0).unwrap_err();
        let (status, body) = body_of(refused).await;
        assert_eq!((status, body["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid")));
        assert!(body["message"].as_str().unwrap().contains("limit"), "{body}");

        let json = request().header("content-type", "application/json").body("{\"limit\":\"x\"}".into()).unwrap();
        let refused = Json::<Wanted>::from_request(json, &()).await.map(|j| j.0).unwrap_err();
        assert_eq!(body_of(refused).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
}
