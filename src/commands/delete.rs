//! `otter delete`: one document, unless others refer to it. Topics stay; positions and progress too, unless they are purged.

use admin::control::documents::Deleted;
use schemas::documents::Kind;

use super::Report;

impl Report for Deleted {
    fn text(&self) -> String {
        let rest = match (&self.purged, self.kind) {
            (Some(purged), _) => format!("; purged: {purged}"),
            (None, Kind::Source) => {
                "; its topics and checkpoints stay, and a new source of this name goes on from them".to_owned()
            }
            (None, Kind::Target) => "; its progress table stays".to_owned(),
            (None, Kind::Pipeline) => {
                "; its progress stays, and a new pipeline of this name goes on from there".to_owned()
            }
        };
        format!("{} {} deleted{rest}\n", self.kind, self.name)
    }
}
