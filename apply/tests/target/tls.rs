//! Connections with and without TLS, to users of the server's own kind of password (MySQL: caching_sha2_password, whose
//! first connection without TLS exchanges keys).

use apply::target::connection::Session;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use schemas::Code;
use schemas::documents::{Tls, TlsMode};
use schemas::secret::SecretRef;
use schemas::server::ServerAccess;

use crate::harness::{Place, Server};

/// The cipher of the first connection that works; none: no TLS.
async fn cipher(access: &ServerAccess<'_>) -> Option<String> {
    for options in access.options().expect("options") {
        if let Ok(mut conn) = Conn::new(options).await {
            let status: Option<(String, String)> =
                conn.query_first("SHOW SESSION STATUS LIKE 'Ssl_cipher'").await.expect("the status");
            return status.map(|(_, cipher)| cipher).filter(|cipher| !cipher.is_empty());
        }
    }
    panic!("no connection");
}

async fn connections_are_encrypted_as_asked(server: Server) {
    let mut place = Place::new(server, "tls").await;
    let (user, address) = (format!("otter_tls_{}", std::process::id()), server.address());
    place.run(&format!("DROP USER IF EXISTS {user}@'%'; CREATE USER {user}@'%' IDENTIFIED BY '{address}'")).await;
    place.run(&format!("GRANT SELECT ON {}.* TO {user}@'%'", place.schema)).await;
    let offers = match server {
        Server::Mysql => true,
        Server::Mariadb => place.rows("SELECT @@have_ssl").await == ["YES"],
    };
    let addresses = [address.parse().expect("an address")];
    let password = SecretRef::Env(server.variable().to_owned());
    for mode in [TlsMode::Disabled, TlsMode::Preferred, TlsMode::Required, TlsMode::VerifyCa] {
        let tls = Tls { mode, ca: None };
        let access = ServerAccess { addresses: &addresses, user: &user, password: Some(&password), tls: &tls };
        let session = Session::connect(&access.options().expect("options")).await;
        match mode {
            TlsMode::Disabled => assert_eq!((session.is_ok(), cipher(&access).await), (true, None)),
            TlsMode::Preferred => assert_eq!((session.is_ok(), cipher(&access).await.is_some()), (true, offers)),
            TlsMode::Required => assert_eq!(session.is_ok(), offers),
            // The server's certificate is its own.
            _ => assert!(session.is_err()),
        }
    }
    let wrong = SecretRef::Env("CARGO_PKG_NAME".to_owned());
    for mode in [TlsMode::Disabled, TlsMode::Preferred] {
        let tls = Tls { mode, ca: None };
        let access = ServerAccess { addresses: &addresses, user: &user, password: Some(&wrong), tls: &tls };
        let failure = Session::connect(&access.options().expect("options")).await.expect_err("refused");
        assert_eq!(failure.error.code(), Code::TargetUnreachable);
        assert!(failure.error.message().contains("1045"), "{}", failure.error);
    }
    place.run(&format!("DROP USER {user}@'%'")).await;
    place.drop().await;
}

crate::on_both_servers! { connections_are_encrypted_as_asked }
