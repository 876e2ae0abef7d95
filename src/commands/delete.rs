//! `otter delete`: one document, unless others refer to it. Topics, positions and progress stay.

use admin::control::documents::Deleted;
use schemas::documents::Kind;

use super::Report;

impl Report for Deleted {
    fn text(&self) -> String {
        let kept = match self.kind {
            Kind::Source => "; its topics and checkpoints stay, and a new source of this name goes on from them",
            Kind::Target => "; its progress table stays",
            Kind::Pipeline => "; its progress stays, and a new pipeline of this name goes on from there",
        };
        format!("{} {} deleted{kept}\n", self.kind, self.name)
    }
}
