//! Where pushes land in tests that push nothing.

use gitd::git::{Decision, Landed, Landing, RefUpdate, Sideband};

pub(crate) struct Nowhere;

impl Landing for Nowhere {
    type Options = ();

    fn options(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn decide(&self, _: &RefUpdate, _: &()) -> Decision {
        Decision::Refuse("nowhere".to_owned())
    }

    async fn deploy(&self, _: Vec<RefUpdate>, _: &(), _: &Sideband) -> Result<Landed, String> {
        Err("nowhere".to_owned())
    }
}
