//! What a client asks for: its exec string, turned into one closed enum at the door.

use crate::{
    run_line,
    words::{self, WordsError},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    ReceivePack(RepoPath),
    UploadPack(RepoPath),
    UploadArchive(RepoPath),
    /// What git-lfs runs before it sends anything (git-lfs, docs/api/authentication.md, docs/proposals/ssh_adapter.md).
    Lfs,
    /// An operator's command; no words for a plain `ssh git@host`.
    Command(Vec<String>),
}

/// The app's name as it stands in a git URL: without leading `/` or `~/`, without `.git`. Nothing else is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoPath(pub String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Words(#[from] WordsError),
    #[error("`{0}` takes the path of one repository")]
    OneRepository(&'static str),
}

impl Request {
    /// `git-receive-pack '/shop.git'`, `git receive-pack shop`, `apps:create shop`. Clients may be told where a server has its
    /// programs (`git push --receive-pack`, git-config's `remote.<name>.uploadpack`); ours are nowhere.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        let words = words::split(line)?;
        let mut rest = words.iter().map(|word| word.text.as_str());
        let verb = match rest.next() {
            Some("git") => rest.next(),
            Some(first) => first
                .rsplit('/')
                .next()
                .and_then(|name| name.strip_prefix("git-")),
            None => None,
        };
        let request = match verb {
            Some("receive-pack") => Self::ReceivePack(one_path("receive-pack", rest)?),
            Some("upload-pack") => Self::UploadPack(one_path("upload-pack", rest)?),
            Some("upload-archive") => Self::UploadArchive(one_path("upload-archive", rest)?),
            Some("lfs-authenticate" | "lfs-transfer") => Self::Lfs,
            // It has been read as text already.
            _ => Self::Command(run_line::words(&String::from_utf8_lossy(line), words)),
        };
        Ok(request)
    }
}

fn one_path<'a>(
    verb: &'static str,
    mut words: impl Iterator<Item = &'a str>,
) -> Result<RepoPath, RequestError> {
    match (words.next(), words.next()) {
        (Some(path), None) => Ok(RepoPath::new(path)),
        _ => Err(RequestError::OneRepository(verb)),
    }
}

impl RepoPath {
    fn new(path: &str) -> Self {
        let path = path
            .strip_prefix("/~/")
            .or_else(|| path.strip_prefix("~/"))
            .unwrap_or(path);
        let path = path.trim_start_matches('/').trim_end_matches('/');
        Self(path.strip_suffix(".git").unwrap_or(path).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pushes_and_their_paths() {
        let check = |line: &str, path: &str| {
            let expected = Ok(Request::ReceivePack(RepoPath(path.to_owned())));
            assert_eq!(Request::parse(line.as_bytes()), expected, "{line}");
        };
        check("git-receive-pack '/shop'", "shop");
        check("git-receive-pack '/shop.git/'", "shop");
        check("git receive-pack shop.git", "shop");
        check("/usr/bin/git-receive-pack 'shop'", "shop");
        check("git-receive-pack '~/shop'", "shop");
        check("git-receive-pack '/~/shop'", "shop");
        check("git-receive-pack '../../etc'", "../../etc");
        check("git-receive-pack '/a'\\''b'", "a'b");
        check("git-receive-pack ''", "");
    }

    #[test]
    fn the_other_requests() {
        let parse = |line: &str| Request::parse(line.as_bytes());
        assert_eq!(
            parse("git-upload-pack 'x'"),
            Ok(Request::UploadPack(RepoPath("x".to_owned())))
        );
        assert_eq!(
            parse("git-upload-archive 'x'"),
            Ok(Request::UploadArchive(RepoPath("x".to_owned())))
        );
        assert_eq!(parse("git-lfs-authenticate x upload"), Ok(Request::Lfs));
        assert_eq!(parse("git-lfs-transfer 'x' upload"), Ok(Request::Lfs));
        assert_eq!(parse(""), Ok(Request::Command(vec![])));
        assert_eq!(
            parse("git status"),
            Ok(Request::Command(vec![
                "git".to_owned(),
                "status".to_owned()
            ]))
        );
        assert_eq!(
            parse("git-shell"),
            Ok(Request::Command(vec!["git-shell".to_owned()]))
        );
        assert_eq!(
            parse("git-receive-pack"),
            Err(RequestError::OneRepository("receive-pack"))
        );
        assert_eq!(
            parse("git-receive-pack --x y"),
            Err(RequestError::OneRepository("receive-pack"))
        );
        assert!(matches!(parse("apps 'x"), Err(RequestError::Words(_))));
    }

    proptest! {
        #[test]
        fn any_line_is_a_request_or_an_error(line: Vec<u8>, path in "[ -~]{0,40}") {
            _ = Request::parse(&line);
            _ = Request::parse(format!("git-receive-pack {path}").as_bytes());
        }
    }
}
