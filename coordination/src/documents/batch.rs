//! Several documents in one transaction of ZooKeeper.

use schemas::documents::{Document, Kind};
use schemas::{Code, Error, Result, names};
use zookeeper as zk;

use super::{Expected, conflicting};
use crate::check_size;
use crate::session::{Answer, Sessions, persistent, refused};

/// The most that one transaction may carry, in bytes of documents: ZooKeeper refuses requests of 1 MB.
const MAX_TRANSACTION: usize = 900_000;

/// One write of a transaction.
struct Write {
    label: String,
    path: String,
    data: Vec<u8>,
    expected: Expected,
}

/// Writes all of them or none; gives the new versions.
pub(super) async fn put_all(sessions: &Sessions, writes: &[(&Document, Expected)]) -> Result<Vec<i32>> {
    let writes =
        writes.iter().map(|(document, expected)| Write::new(document, *expected)).collect::<Result<Vec<_>>>()?;
    let size: usize = writes.iter().map(|w| w.data.len() + w.path.len() + 64).sum();
    if size > MAX_TRANSACTION {
        let message =
            format!("the documents take {size} bytes together, {MAX_TRANSACTION} can be written at a time; put fewer");
        return Err(Error::new(Code::DocumentTooLarge, message));
    }
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let writes = writes.as_slice();
    let answer = sessions.call("writing the documents", |client| async move { commit(&client, writes).await }).await?;
    let Answer { result, repeated } = answer;
    match result {
        Ok(versions) => Ok(versions),
        Err(zk::Error::NodeExists | zk::Error::BadVersion | zk::Error::NoNode) => {
            conflict(sessions, writes, repeated).await
        }
        Err(error) => Err(refused("writing the documents", error)),
    }
}

impl Write {
    fn new(document: &Document, expected: Expected) -> Result<Self> {
        let data = document.to_json()?.into_bytes();
        check_size(&document.to_string(), &data)?;
        let path = names::document_path(document.kind().folder(), document.name().as_str());
        Ok(Self { label: document.to_string(), path, data, expected })
    }

    /// The version that this write leaves, when it was carried out as expected.
    fn leaves(&self) -> i32 {
        match self.expected {
            Expected::Version(version) => version.wrapping_add(1),
            Expected::New | Expected::Any => 0,
        }
    }
}

async fn commit(client: &zk::Client, writes: &[Write]) -> Result<Vec<i32>, zk::Error> {
    for kind in Kind::ALL {
        client.mkdir(&names::documents_path(kind.folder()), &persistent()).await?;
    }
    let mut writer = client.new_multi_writer();
    for write in writes {
        match write.expected {
            Expected::New => writer.add_create(&write.path, &write.data, &persistent())?,
            Expected::Version(version) => writer.add_set_data(&write.path, &write.data, Some(version))?,
            Expected::Any if client.check_stat(&write.path).await?.is_some() => {
                writer.add_set_data(&write.path, &write.data, None)?;
            }
            Expected::Any => writer.add_create(&write.path, &write.data, &persistent())?,
        }
    }
    let results = writer.commit().await.map_err(zk::Error::from)?;
    let version = |(write, result): (&Write, zk::MultiWriteResult)| match result {
        zk::MultiWriteResult::SetData { stat } => stat.version,
        // Its stat may be invalid: ZOOKEEPER-4026.
        _ => write.leaves(),
    };
    Ok(writes.iter().zip(results).map(version).collect())
}

/// The transaction was refused: somebody else's write, unless it was its own first attempt, whose answer got lost.
async fn conflict(sessions: &Sessions, writes: &[Write], repeated: bool) -> Result<Vec<i32>> {
    let mut versions = Vec::new();
    let mut other = None;
    for write in writes {
        let path = write.path.as_str();
        let answer = sessions.call(path, |client| async move { client.get_data(path).await }).await?;
        let now = match answer.result {
            Ok((data, stat)) => Some((data, stat.version)),
            Err(zk::Error::NoNode) => None,
            Err(error) => return Err(refused(path, error)),
        };
        let version = now.as_ref().map(|(_, version)| *version);
        match now {
            Some((data, version)) if version == write.leaves() && data == write.data => versions.push(version),
            _ if as_expected(write.expected, version) => {}
            _ => other = other.or(Some(conflicting(&write.label, version))),
        }
    }
    if repeated && versions.len() == writes.len() {
        return Ok(versions);
    }
    Err(other.unwrap_or_else(|| {
        Error::new(Code::VersionConflict, "the documents were changed by somebody else at the same moment")
    }))
}

fn as_expected(expected: Expected, now: Option<i32>) -> bool {
    match expected {
        Expected::Any => true,
        Expected::New => now.is_none(),
        Expected::Version(version) => now == Some(version),
    }
}
