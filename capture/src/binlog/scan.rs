//! Short looks into a server's binlogs, by a dump that ends where the binlog ends now.
//!
//! Every transaction of both kinds of servers begins with a GTID event (an anonymous one where MySQL gives out none), so
//! an offset is a boundary exactly where such an event begins, or where one of the few events stands that are never
//! within a transaction, or at the end.

use std::ops::ControlFlow;
use std::time::Duration;

use schemas::checkpoint::Flavor;
use schemas::documents::FIRST_POSITION;
use schemas::gtid::GtidPosition;
use schemas::moment::Moment;
use schemas::{Code, Error, Result};
use tokio_util::sync::CancellationToken;

use super::channel::{Received, Receiver, channel};
use super::event::{Event, RawEvent, kind};
use super::gtid_sets;
use super::place::{BinlogFile, Entry, Place};
use super::reader::{ReadOptions, read};
use super::server::{SourceServer, close};

/// Bytes of events that wait between the dump and the look at them.
const READ_AHEAD: usize = 4 << 20;
/// How long a look waits for the dump's next event before it looks whether the dump is over.
const TICK: Duration = Duration::from_secs(1);

/// How far a look has come.
#[derive(Debug, Default)]
struct Walk {
    /// The end of the last event: everything before it, with MySQL's GTIDs.
    place: Place,
    /// When the first file was begun, seconds since 1970 UTC.
    begun: Option<u32>,
}

impl Walk {
    /// Moves behind an event.
    fn pass(&mut self, raw: &RawEvent, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Rotate { file, position } => {
                (*file).clone_into(&mut self.place.file);
                self.place.position = *position;
                return Ok(());
            }
            _ if raw.is_artificial() => return Ok(()),
            Event::FormatDescription { .. } => self.begun = self.begun.or(Some(raw.timestamp)),
            Event::Gtid(gtid) => {
                if let Some(gtid) = gtid.gtid {
                    self.place.gtid.advance(gtid);
                }
            }
            _ if raw.event_type == kind::PREVIOUS_GTIDS => {
                let set = gtid_sets::read(&raw.body).ok_or_else(|| {
                    let message = format!("the list of GTIDs at the head of {} cannot be read", self.place.file);
                    Error::new(Code::BinlogCorrupt, message)
                })?;
                self.place.gtid.merge(&set);
            }
            _ => {}
        }
        self.place.position = raw.log_pos;
        Ok(())
    }
}

/// Looks at events from the head of a file on until `judge` breaks, or until the end. `judge` sees each event before it is
/// passed.
async fn walk<T: Send + 'static>(
    server: &SourceServer,
    file: &str,
    judge: impl FnMut(&Walk, &RawEvent, &Event<'_>) -> Result<ControlFlow<T>> + Send + 'static,
) -> Result<(Walk, Option<T>)> {
    let (sender, receiver) = channel(READ_AHEAD);
    let stop = CancellationToken::new();
    // A caller that goes away ends the dump, and with it the look.
    let _ended = stop.clone().drop_guard();
    let entry = Entry::File { file: file.to_owned(), position: FIRST_POSITION };
    let (server, reading_stop) = (server.clone(), stop.clone());
    let options = ReadOptions { until_end: true, ..ReadOptions::default() };
    let reading = tokio::spawn(async move { read(&server, &entry, &options, sender, reading_stop).await });
    let looking = tokio::task::spawn_blocking(move || look(receiver, judge));
    let looked = looking.await.unwrap_or_else(|e| Err(broken(&e.to_string())))?;
    stop.cancel();
    let read = reading.await.unwrap_or_else(|e| Err(broken(&e.to_string())));
    if looked.1.is_none() {
        read?; // what was not found may stand in what could not be read
    }
    Ok(looked)
}

fn look<T>(
    mut events: Receiver,
    mut judge: impl FnMut(&Walk, &RawEvent, &Event<'_>) -> Result<ControlFlow<T>>,
) -> Result<(Walk, Option<T>)> {
    let mut walk = Walk::default();
    loop {
        let raw = match events.recv_timeout(TICK) {
            Received::Event(raw) => raw,
            Received::Empty => continue,
            Received::Closed => return Ok((walk, None)),
        };
        let event = raw.parse()?;
        if let ControlFlow::Break(found) = judge(&walk, &raw, &event)? {
            return Ok((walk, Some(found)));
        }
        walk.pass(&raw, &event)?;
    }
}

fn broken(why: &str) -> Error {
    Error::new(Code::CaptureFailed, format!("a look into the binlog ended unexpectedly: {why}"))
}

/// Whether the event is never within a transaction.
fn stands_between(raw: &RawEvent, event: &Event<'_>) -> bool {
    matches!(event, Event::Gtid(_) | Event::Rotate { .. } | Event::FormatDescription { .. } | Event::GtidList)
        || [kind::STOP, kind::BINLOG_CHECKPOINT, kind::START_ENCRYPTION].contains(&raw.event_type)
}

/// What MySQL committed before an offset of a file (nothing on MariaDB); `None` when the offset is no boundary.
pub(super) async fn boundary(server: &SourceServer, file: &BinlogFile, position: u64) -> Result<Option<GtidPosition>> {
    let (wanted, size) = (file.name.clone(), file.size);
    let judge = move |walk: &Walk, raw: &RawEvent, event: &Event<'_>| {
        let at = walk.place.position;
        let elsewhere = !walk.place.file.is_empty() && walk.place.file != wanted;
        if raw.is_artificial() && !elsewhere {
            return Ok(ControlFlow::Continue(()));
        }
        // The head of the file, in front of the first transaction, belongs to what is before it in the GTID position.
        let head = [kind::FORMAT_DESCRIPTION, kind::PREVIOUS_GTIDS, kind::GTID_LIST].contains(&raw.event_type);
        if elsewhere || (at >= position && !head) {
            let found = !elsewhere && (at == position || position == FIRST_POSITION) && stands_between(raw, event);
            // Behind the last event of a file that is complete.
            let end = elsewhere && position == size;
            return Ok(ControlFlow::Break(found || end));
        }
        Ok(ControlFlow::Continue(()))
    };
    let (walked, found) = walk(server, &file.name, judge).await?;
    // At the end of the binlog nothing stands behind the offset yet, nor behind the head of a file that holds nothing else.
    let last = walked.place.position == position || position == FIRST_POSITION;
    let at_end = walked.place.file == file.name && last;
    Ok(found.unwrap_or(at_end).then_some(walked.place.gtid))
}

/// The head of a file: what MySQL committed before it, and when it was begun.
pub(super) async fn head(server: &SourceServer, file: &str) -> Result<Place> {
    Ok(begun(server, file).await?.0)
}

async fn begun(server: &SourceServer, file: &str) -> Result<(Place, u32)> {
    let judge = |walk: &Walk, raw: &RawEvent, _: &Event<'_>| {
        let head = [kind::FORMAT_DESCRIPTION, kind::PREVIOUS_GTIDS, kind::GTID_LIST, kind::START_ENCRYPTION];
        let over = walk.begun.is_some() && !raw.is_artificial() && !head.contains(&raw.event_type);
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let (walked, _) = walk(server, file, judge).await?;
    match walked.begun {
        Some(begun) => Ok((walked.place, begun)),
        None => Err(Error::new(Code::BinlogCorrupt, format!("{}: {file} has no head", server.address))),
    }
}

/// The place in front of the first transaction whose event says that it was made in this second or later; the end when
/// there is none. The GTID position is MySQL's; MariaDB is asked for it.
pub(super) async fn first_since(server: &SourceServer, moment: Moment) -> Result<Place> {
    let seconds = moment.ms().div_euclid(1000);
    if moment > Moment::now() {
        let message = format!("{}: {moment} has not come yet; start at `latest`", server.address);
        return Err(Error::new(Code::StartRefused, message));
    }
    let file = last_begun_before(server, seconds).await?;
    let judge = move |walk: &Walk, raw: &RawEvent, event: &Event<'_>| {
        let since = matches!(event, Event::Gtid(_)) && i64::from(raw.timestamp) >= seconds;
        Ok(if since { ControlFlow::Break(walk.place.clone()) } else { ControlFlow::Continue(()) })
    };
    let (walked, found) = walk(server, &file, judge).await?;
    let mut place = found.unwrap_or(walked.place);
    if server.flavor == Flavor::Mysql {
        place.gtid.merge(&server.holdings().await?.purged);
    }
    Ok(place)
}

/// The newest file that was begun before a second: no transaction of that second or later stands before it.
async fn last_begun_before(server: &SourceServer, seconds: i64) -> Result<String> {
    let mut conn = server.connection().await?;
    let files = server.files(&mut conn).await?;
    close(conn).await;
    let (mut low, mut high) = (0, files.len()); // files[..low] were begun before it, files[high..] were not
    while low < high {
        let middle = usize::midpoint(low, high);
        let (_, begun) = begun(server, &files[middle].name).await?;
        if i64::from(begun) < seconds { low = middle + 1 } else { high = middle }
    }
    if let Some(file) = low.checked_sub(1).and_then(|before| files.get(before)) {
        return Ok(file.name.clone());
    }
    let holdings = server.holdings().await?;
    let Some(oldest) = holdings.files.first() else {
        return Err(Error::new(Code::SourceSetting, format!("{}: the server has no binlog files", server.address)));
    };
    let (head, since) = begun(server, &oldest.name).await?;
    // Nothing was ever before the first file of a server.
    let first = oldest.name.rsplit_once('.').and_then(|(_, n)| n.parse::<u64>().ok()) == Some(1);
    if head.gtid.is_empty() && holdings.purged.is_empty() && first {
        return Ok(oldest.name.clone());
    }
    let since = Moment::from_ms(i64::from(since) * 1000);
    let message = format!("the binlog of {} is purged, it goes back to {since}", Moment::from_ms(seconds * 1000));
    Err(Error::new(Code::BinlogPurged, format!("{}: {message}; {holdings}", server.address)))
}
