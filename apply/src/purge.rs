//! What a pipeline leaves behind at its target and in Kafka, seen and taken away.
//!
//! A pipeline that is deleted keeps its progress, so one of the same name goes on where it was. Purged, it begins anew. A worker
//! that has not noticed the deletion yet cannot write any more: its progress update finds no row, so the rows of
//! that batch are rolled back with it.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use mysql_async::Value;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use schemas::documents::Target;
use schemas::kafka::KafkaOptions;
use schemas::progress::{self, column};
use schemas::server::ServerAccess;
use schemas::{Code, Error, Result, names};

use crate::target::connection::Session;
use crate::target::failure::Failure;

/// How long members may take to leave the group; one that was killed is in it until its session ends.
const LEAVE_EVERY: Duration = Duration::from_millis(500);
const LEAVE_TIMES: usize = 24;
/// How long Kafka may take to answer.
const WAIT: Duration = Duration::from_secs(5);

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purged {
    /// Progress rows at the target: a row is a partition of a table's topic.
    pub progress: u64,
    /// Whether there was a consumer group.
    pub group: bool,
}

/// Progress rows that a pipeline of this name has at its target: where they are, one that is put goes on there.
///
/// # Errors
/// `OT5001`, `OT1003` when the target cannot be reached, `OT5002` without the privilege.
pub async fn standing(target: &Target, pipeline: &str) -> Result<u64> {
    let mut session = connect(target).await?;
    let found = if has_table(&mut session, &target.schema).await? {
        let sql =
            format!("SELECT COUNT(*) FROM {} WHERE `{}` = ?", progress::qualified(&target.schema), column::PIPELINE);
        session.find::<(u64,)>(&sql, vec![Value::from(pipeline)]).await.map_err(|f| f.error)?.map_or(0, |(n,)| n)
    } else {
        0
    };
    session.close().await;
    Ok(found)
}

/// Takes away a pipeline's progress and its consumer group. Its document must be gone; what it wrote stays.
///
/// # Errors
/// `OT5001`, `OT1003` when the target cannot be reached, `OT5002` without the privilege; `OT4001` and `OT4009` of Kafka,
/// then the progress is gone already, and purging again does the rest.
pub async fn purge(cluster: &str, kafka: &KafkaOptions, target: &Target, pipeline: &str) -> Result<Purged> {
    let mut purged = Purged { progress: delete_progress(target, pipeline).await?, group: false };
    purged.group = delete_group(kafka, &names::group(cluster, pipeline)).await?;
    // A worker that had not noticed yet may have claimed once more, from its old document's start. Now all have left.
    purged.progress += delete_progress(target, pipeline).await?;
    tracing::info!(pipeline, progress = purged.progress, group = purged.group, "pipeline purged");
    Ok(purged)
}

async fn delete_progress(target: &Target, pipeline: &str) -> Result<u64> {
    let mut session = connect(target).await?;
    let mut rows = 0;
    if has_table(&mut session, &target.schema).await? {
        let sql = format!("DELETE FROM {} WHERE `{}` = ?", progress::qualified(&target.schema), column::PIPELINE);
        rows = session.execute(&sql, vec![Value::from(pipeline)]).await.map_err(|f| f.error)?;
    }
    session.close().await;
    Ok(rows)
}

async fn connect(target: &Target) -> Result<Session> {
    let options = ServerAccess::from(target).options()?;
    Session::connect(&options).await.map_err(|f: Failure| f.error)
}

async fn has_table(session: &mut Session, schema: &str) -> Result<bool> {
    let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let found = session.find::<(String,)>(sql, vec![Value::from(schema), Value::from(progress::TABLE)]).await;
    Ok(found.map_err(|f| f.error)?.is_some())
}

/// Deletes a group when its last member has left; whether there was one.
async fn delete_group(kafka: &KafkaOptions, group: &str) -> Result<bool> {
    let mut config = ClientConfig::new();
    for (key, value) in kafka.properties() {
        config.set(key, value);
    }
    let wrong = |e: KafkaError| Error::new(Code::ConfigInvalid, format!("kafka.client: {e}")).with_source(e);
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(wrong)?;
    let options = AdminOptions::new().request_timeout(Some(WAIT)).operation_timeout(Some(WAIT));
    let delete = || async {
        let answers = admin.delete_groups(&[group], &options).await.map_err(|e| {
            Error::new(Code::KafkaUnavailable, format!("deleting the group {group}: {e}")).with_source(e)
        })?;
        match answers.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::GroupIdNotFound))) | None => Ok(false),
            Some(Err((_, RDKafkaErrorCode::GroupAuthorizationFailed))) => {
                Err(Error::new(Code::KafkaDenied, format!("DELETE on the group {group}")))
            }
            Some(Err((_, code))) => {
                Err(Error::new(Code::KafkaUnavailable, format!("deleting the group {group}: {code}")))
            }
        }
    };
    let policy = ConstantBuilder::default().with_delay(LEAVE_EVERY).with_max_times(LEAVE_TIMES);
    delete.retry(policy).when(|e: &Error| e.code() == Code::KafkaUnavailable).await
}
