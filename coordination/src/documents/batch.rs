//! Several documents in one transaction of ZooKeeper, and one that holds only while the others are as they were read.
//!
//! Each transaction also writes the folder of all documents, naming the version that it had before they were read. Of two
//! changes that were each checked without the other only one gets through.

use schemas::documents::{Document, Kind};
use schemas::{Code, Error, Result, names};
use zookeeper as zk;

use super::{Expected, Stamp, conflicting, not_found};
use crate::check_size;
use crate::session::{Answer, Sessions, persistent, refused};

/// The most that one transaction may carry, in bytes of documents: ZooKeeper refuses requests of 1 MB.
const MAX_TRANSACTION: usize = 900_000;

/// The folder of all documents, whose version is the stamp.
const ROOT: &str = "/documents";

/// The folder's version now.
pub(super) async fn stamp(sessions: &Sessions) -> Result<Stamp> {
    let answer = sessions.call(ROOT, |client| async move {
        client.mkdir(ROOT, &persistent()).await?;
        client.check_stat(ROOT).await
    });
    match answer.await?.result {
        Ok(Some(stat)) => Ok(Stamp(stat.version)),
        Ok(None) => Err(refused(ROOT, zk::Error::NoNode)),
        Err(error) => Err(refused(ROOT, error)),
    }
}

/// Deletes this version of a document; `false` when others were written since the stamp.
pub(super) async fn delete(
    sessions: &Sessions,
    (kind, name): (Kind, &str),
    version: i32,
    Stamp(since): Stamp,
) -> Result<bool> {
    let path = names::document_path(kind.folder(), name);
    let (path, what) = (path.as_str(), format!("deleting the {kind} {name}"));
    let answer = sessions.call(&what, |client| async move {
        let mut writer = client.new_multi_writer();
        writer.add_set_data(ROOT, b"", Some(since))?;
        writer.add_delete(path, Some(version))?;
        writer.commit().await.map_err(zk::Error::from)
    });
    let Answer { result, repeated } = answer.await?;
    match result {
        Ok(_) => Ok(true),
        Err(zk::Error::BadVersion | zk::Error::NoNode) => match read(sessions, path).await? {
            None if repeated => Ok(true), // the attempt that broke off did it
            None => Err(not_found(kind, name)),
            Some((_, now)) if now != version => Err(conflicting(&format!("{kind} {name}"), Some(now))),
            Some(_) => Ok(false),
        },
        Err(error) => Err(refused(&what, error)),
    }
}

/// One write of a transaction.
struct Write {
    label: String,
    path: String,
    data: Vec<u8>,
    expected: Expected,
}

/// Writes all of them or none; gives the new versions, or `None` when others were written since the stamp.
pub(super) async fn put_all(
    sessions: &Sessions,
    writes: &[(&Document, Expected)],
    since: Stamp,
) -> Result<Option<Vec<i32>>> {
    let writes =
        writes.iter().map(|(document, expected)| Write::new(document, *expected)).collect::<Result<Vec<_>>>()?;
    let size: usize = writes.iter().map(|w| w.data.len() + w.path.len() + 64).sum();
    if size > MAX_TRANSACTION {
        let message =
            format!("the documents take {size} bytes together, {MAX_TRANSACTION} can be written at a time; put fewer");
        return Err(Error::new(Code::DocumentTooLarge, message));
    }
    if writes.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let writes = writes.as_slice();
    let answer =
        sessions.call("writing the documents", |client| async move { commit(&client, writes, since).await }).await?;
    let Answer { result, repeated } = answer;
    match result {
        Ok(versions) => Ok(Some(versions)),
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

async fn commit(client: &zk::Client, writes: &[Write], Stamp(since): Stamp) -> Result<Vec<i32>, zk::Error> {
    for kind in Kind::ALL {
        client.mkdir(&names::documents_path(kind.folder()), &persistent()).await?;
    }
    let mut writer = client.new_multi_writer();
    writer.add_set_data(ROOT, b"", Some(since))?;
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
    // The first result is the folder's.
    Ok(writes.iter().zip(results.into_iter().skip(1)).map(version).collect())
}

/// The transaction was refused: somebody else's write (`None`: of other documents), unless it was its own first attempt,
/// whose answer got lost.
async fn conflict(sessions: &Sessions, writes: &[Write], repeated: bool) -> Result<Option<Vec<i32>>> {
    let mut versions = Vec::new();
    let mut other = None;
    for write in writes {
        let now = read(sessions, &write.path).await?;
        let version = now.as_ref().map(|(_, version)| *version);
        match now {
            Some((data, version)) if version == write.leaves() && data == write.data => versions.push(version),
            _ if as_expected(write.expected, version) => {}
            _ => other = other.or(Some(conflicting(&write.label, version))),
        }
    }
    if repeated && versions.len() == writes.len() {
        return Ok(Some(versions));
    }
    // These are as expected, so it was the folder.
    other.map_or(Ok(None), Err)
}

async fn read(sessions: &Sessions, path: &str) -> Result<Option<(Vec<u8>, i32)>> {
    match sessions.call(path, |client| async move { client.get_data(path).await }).await?.result {
        Ok((data, stat)) => Ok(Some((data, stat.version))),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(refused(path, error)),
    }
}

fn as_expected(expected: Expected, now: Option<i32>) -> bool {
    match expected {
        Expected::Any => true,
        Expected::New => now.is_none(),
        Expected::Version(version) => now == Some(version),
    }
}
