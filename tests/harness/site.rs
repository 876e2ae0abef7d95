//! An installation of one test on servers that others use too: own cluster name and so own nodes, groups, transactional ids
//! and internal topics; own topics; own schemas at source and target.

use super::otter::{Finished, TOKEN_FILE, command, finish, tail};
use super::{Context as _, Database, Kind, Otter, Result, Servers, ensure};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The user that the processes connect as, and its password.
const USER: &str = "otter";
/// The variable that the documents name for the password.
const PASSWORD_VARIABLE: &str = "OTTER_TEST_PASSWORD";

/// The columns of tb_user.
pub(crate) const TB_USER: &str = "
  id int(11) unsigned auto_increment comment 'ID' primary key,
  username varchar(100) default '' not null comment '用户名',
  age int default 0 not null comment '年龄',
  email varchar(64) default '' not null comment '邮箱',
  created_time datetime default CURRENT_TIMESTAMP not null comment '创建时间',
  modified_time datetime default CURRENT_TIMESTAMP not null on update CURRENT_TIMESTAMP comment '更新时间',
  is_deleted tinyint(2) default 0 not null comment '是否删除'";

/// How a source's position is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Gtid,
    File,
}

/// One test's installation.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    /// The servers it uses.
    pub(crate) servers: Servers,
    /// Name of the cluster, of the source document, of the topics' prefix and of the schema at the source.
    pub(crate) name: String,
    /// The schema at the target, which also holds the progress table.
    pub(crate) target_schema: String,
    /// Where source and target are for the documents, if not at the servers' own addresses.
    pub(crate) source_address: String,
    pub(crate) target_address: String,
    started: Cell<u32>,
    logs: RefCell<Vec<PathBuf>>,
}

impl Site {
    /// A site named after the test.
    pub(crate) async fn new(test: &str, servers: Servers) -> Result<Self> {
        let name = format!("{test}_{:08x}", rand::random::<u32>());
        let site = Self {
            folder: tempfile::Builder::new().prefix("otter-site-").tempdir()?,
            target_schema: format!("{name}_t"),
            source_address: servers.source.clone(),
            target_address: servers.target.clone(),
            started: Cell::new(0),
            logs: RefCell::new(Vec::new()),
            servers,
            name,
        };
        site.source().await?.run(&format!("CREATE DATABASE {} CHARACTER SET utf8mb4", site.name)).await?;
        site.target().await?.run(&format!("CREATE DATABASE {} CHARACTER SET utf8mb4", site.target_schema)).await?;
        let config = format!(
            "cluster = '{}'\n[zookeeper]\nservers = '{}'\n[kafka]\nbrokers = '{}'\n[http]\nlisten = '127.0.0.1:0'\n\
             [client]\ntoken = 'file:{TOKEN_FILE}'\n",
            site.name, site.servers.zookeeper, site.servers.kafka
        );
        std::fs::write(site.path("otter.toml"), config)?;
        site.make_token().await?;
        Ok(site)
    }

    /// A site on the shared servers of these kinds.
    pub(crate) async fn between(test: &str, from: Kind, to: Kind) -> Result<Self> {
        Self::new(test, Servers::shared()?.between(from, to)).await
    }

    /// A root connection to the source.
    pub(crate) async fn source(&self) -> Result<Database> {
        Database::connect(&self.servers.source).await
    }

    /// A root connection to the target.
    pub(crate) async fn target(&self) -> Result<Database> {
        Database::connect(&self.servers.target).await
    }

    /// The full name of a table at the source.
    pub(crate) fn from(&self, table: &str) -> String {
        format!("{}.{table}", self.name)
    }

    /// The full name of a table at the target.
    pub(crate) fn to(&self, table: &str) -> String {
        format!("{}.{table}", self.target_schema)
    }

    /// The topic of a table.
    pub(crate) fn topic(&self, table: &str) -> String {
        let name = schemas::table::TableName { schema: self.name.clone(), table: table.to_owned() };
        schemas::names::topic(&self.name, &name)
    }

    /// Creates a table at both ends.
    pub(crate) async fn create(&self, from: &str, to: &str, columns: &str) -> Result<()> {
        self.source().await?.run(&format!("CREATE TABLE {} ({columns})", self.from(from))).await?;
        self.target().await?.run(&format!("CREATE TABLE {} ({columns})", self.to(to))).await?;
        Ok(())
    }

    /// The source document: it begins with what is committed after this call.
    pub(crate) async fn source_document(&self) -> Result<String> {
        self.source_document_by(By::Gtid).await
    }

    /// The same, with the position kept in this way.
    pub(crate) async fn source_document_by(&self, by: By) -> Result<String> {
        let mut source = self.source().await?;
        let start = match by {
            By::Gtid => format!("{{gtid: '{}'}}", source.gtid().await?),
            By::File => {
                let (file, position) = source.file().await?;
                format!("{{file: {file}, position: {position}}}\nposition: file")
            }
        };
        Ok(format!(
            "kind: source\nname: {name}\naddresses: ['{address}']\nuser: {USER}\npassword: env:{PASSWORD_VARIABLE}\n\
             start: {start}\ntables: ['{name}.*']\n",
            name = self.name,
            address = self.source_address,
        ))
    }

    /// The target document.
    pub(crate) fn target_document(&self) -> String {
        format!(
            "kind: target\nname: {name}\ntype: mysql\naddress: '{address}'\nuser: {USER}\n\
             password: env:{PASSWORD_VARIABLE}\nschema: {schema}\n",
            name = self.name,
            address = self.target_address,
            schema = self.target_schema,
        )
    }

    /// The pipeline document that maps tables of the source to tables of the target.
    pub(crate) fn pipeline_document(&self, tables: &[(&str, &str)]) -> String {
        let mappings: Vec<_> =
            tables.iter().map(|(from, to)| format!("{{from: {}, to: {}}}", self.from(from), self.to(to))).collect();
        let name = &self.name;
        format!("kind: pipeline\nname: {name}\nsource: {name}\ntarget: {name}\nmappings: [{}]\n", mappings.join(", "))
    }

    /// Puts the three documents for some tables.
    pub(crate) async fn put_all(&self, tables: &[(&str, &str)]) -> Result<()> {
        let source = self.source_document().await?;
        self.put(&[&source, &self.target_document(), &self.pipeline_document(tables)]).await
    }

    /// `otter put` of some documents, which must be accepted.
    pub(crate) async fn put(&self, documents: &[&str]) -> Result<()> {
        let done = self.try_put(documents).await?;
        ensure!(done.code == Some(0), "otter put: {done:?}");
        Ok(())
    }

    /// `otter put` of some documents.
    pub(crate) async fn try_put(&self, documents: &[&str]) -> Result<Finished> {
        std::fs::write(self.path("documents.yaml"), documents.join("---\n"))?;
        self.otter(&["put", "-f", "documents.yaml"]).await
    }

    /// A token of the role admin, in a file that the configuration names.
    async fn make_token(&self) -> Result<()> {
        let (token, record) = admin::control::tokens::mint("test", coordination::Role::Admin, "the harness");
        let coordination = self.coordination().await?;
        coordination.tokens().create(&record).await?;
        coordination.close().await;
        Ok(std::fs::write(self.path(TOKEN_FILE), token.token)?)
    }

    /// The token of the role admin.
    pub(crate) fn token(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.path(TOKEN_FILE))?)
    }

    /// Runs a command of the CLI on ZooKeeper itself.
    pub(crate) async fn otter(&self, arguments: &[&str]) -> Result<Finished> {
        self.otter_with(&[arguments, &["--direct"]].concat(), &[]).await
    }

    /// Runs a command of the CLI with some variables of the environment besides.
    pub(crate) async fn otter_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Finished> {
        let mut command = command(self.folder.path(), arguments);
        command.envs(variables.iter().copied());
        command.env(PASSWORD_VARIABLE, USER);
        finish(command).await
    }

    /// Starts a role and waits until it answers.
    pub(crate) async fn start(&self, role: &str) -> Result<Otter> {
        let mut otter = self.spawn(role)?;
        otter.answering().await?;
        Ok(otter)
    }

    /// Starts a role without waiting for it.
    pub(crate) fn spawn(&self, role: &str) -> Result<Otter> {
        let number = self.started.get() + 1;
        self.started.set(number);
        let name = format!("{role} {number}");
        let log = self.path(&format!("{role}-{number}.log"));
        self.logs.borrow_mut().push(log.clone());
        let mut command = command(self.folder.path(), &[role]);
        command.env(PASSWORD_VARIABLE, USER);
        Otter::spawn(command, name, log)
    }

    /// Adds to the `otter.toml` of processes that are started from now on.
    pub(crate) fn append_config(&self, text: &str) -> Result<()> {
        let path = self.path("otter.toml");
        Ok(std::fs::write(&path, std::fs::read_to_string(&path)? + text)?)
    }

    /// A connection to the site's ZooKeeper nodes.
    pub(crate) async fn coordination(&self) -> Result<coordination::Coordination> {
        let mut options = coordination::Options::new(&self.servers.zookeeper);
        options.chroot = schemas::names::default_chroot(&self.name);
        coordination::Coordination::connect(&options, Default::default()).await.context("no ZooKeeper")
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

/// The ends of the processes' logs: the test runner shows them only when the test fails.
impl Drop for Site {
    fn drop(&mut self) {
        for log in self.logs.borrow().iter().rev().take(4).rev() {
            println!("{}", tail(log));
        }
    }
}
