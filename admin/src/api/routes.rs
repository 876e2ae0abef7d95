//! Routes with the role that each needs: none can be added without one.

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use coordination::Role;
use schemas::{Code, Error};
use utoipa::openapi::extensions::Extensions;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::problem::Problem;
use crate::AdminContext;
use crate::control::Caller;

/// The routes of one resource; made of what `utoipa_axum::routes!` gives.
pub(crate) struct Routes(OpenApiRouter<AdminContext>);

impl Routes {
    /// No routes yet.
    pub(crate) fn new() -> Self {
        Self(OpenApiRouter::new())
    }

    /// Handlers of one path for every role.
    pub(crate) fn viewer(self, routes: UtoipaMethodRouter<AdminContext>) -> Self {
        self.scoped(Role::Viewer, routes)
    }

    /// Handlers of one path for operators and admins.
    pub(crate) fn operator(self, routes: UtoipaMethodRouter<AdminContext>) -> Self {
        self.scoped(Role::Operator, routes)
    }

    /// Handlers of one path for admins.
    pub(crate) fn admin(self, routes: UtoipaMethodRouter<AdminContext>) -> Self {
        self.scoped(Role::Admin, routes)
    }

    /// All of another resource's.
    pub(crate) fn merge(self, other: Self) -> Self {
        Self(self.0.merge(other.0))
    }

    /// All of them below a path.
    pub(crate) fn nest(self, path: &str) -> OpenApiRouter<AdminContext> {
        OpenApiRouter::new().nest(path, self.0)
    }

    fn scoped(self, role: Role, routes: UtoipaMethodRouter<AdminContext>) -> Self {
        let (schemas, mut paths, methods) = routes;
        for item in paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                operation.extensions = Some(Extensions::builder().add("x-otter-role", role.as_str()).build());
            }
        }
        let methods = methods.route_layer(from_fn(move |request: Request, next: Next| require(role, request, next)));
        Self(self.0.routes((schemas, paths, methods)))
    }
}

async fn require(role: Role, request: Request, next: Next) -> Response {
    let error = match request.extensions().get::<Caller>().map(|caller| caller.role) {
        Some(has) if has >= role => return next.run(request).await,
        Some(has) => Error::new(Code::NotAllowed, format!("this needs the role {role}, the token has {has}")),
        None => Error::new(Code::NotAuthenticated, "the request was not authenticated"),
    };
    Problem::from(error).into_response()
}
