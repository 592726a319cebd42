//! `git push -o ...`: what the pusher asks for beside the commit.

const KNOWN: &str = "no-cache, detach, supersede, plan, message=TEXT";
/// Of a message; it becomes the description of a release, which is shown in one row.
const MESSAGE_CHARS_MAX: usize = 200;

/// The options of one push, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Forget what earlier builds kept.
    pub(crate) no_cache: bool,
    /// The push ends; the deploy goes on.
    pub(crate) detach: bool,
    /// Take the place of the deploy that is under way.
    pub(crate) supersede: bool,
    /// Build, say what would change, deploy nothing.
    pub(crate) plan: bool,
    /// The description of the release.
    pub(crate) message: Option<String>,
}

impl PushOptions {
    /// `Err`: in one line, what is wrong with which option.
    pub(crate) fn parse(given: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for option in given {
            options.take(option)?;
        }
        if options.plan && options.detach {
            return Err("push options `plan` and `detach` exclude each other".to_owned());
        }
        if options.plan && options.supersede {
            return Err(
                "push options `plan` and `supersede` exclude each other: a plan cancels nothing"
                    .to_owned(),
            );
        }
        if options.plan && options.message.is_some() {
            return Err("push option `message` needs a release, and `plan` makes none".to_owned());
        }
        Ok(options)
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let flag = match name {
            "no-cache" => &mut self.no_cache,
            "detach" => &mut self.detach,
            "supersede" => &mut self.supersede,
            "plan" => &mut self.plan,
            "message" => return self.take_message(value),
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(format!(
                    "push option `{name}` is not known; known are {KNOWN}"
                ));
            }
        };
        if value.is_some() {
            return Err(format!("push option `{name}` takes no value"));
        }
        *flag = true;
        Ok(())
    }

    fn take_message(&mut self, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or_default().trim();
        if text.is_empty() {
            return Err("push option `message` needs a text: -o message='Fix the till'".to_owned());
        }
        if text.chars().count() > MESSAGE_CHARS_MAX {
            return Err(format!(
                "push option `message` is longer than {MESSAGE_CHARS_MAX} characters"
            ));
        }
        if self.message.replace(text.to_owned()).is_some() {
            return Err("push option `message` was given twice".to_owned());
        }
        Ok(())
    }

    /// Whether a push with `other` would come to the same: it may then share the build.
    pub(crate) fn same_deploy(&self, other: &Self) -> bool {
        let shape = |options: &Self| (options.no_cache, options.plan, options.message.clone());
        shape(self) == shape(other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(options: &[&str]) -> Result<PushOptions, String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        PushOptions::parse(&options)
    }

    #[test]
    fn known_options_are_understood() {
        let options = parse(&["no-cache", "supersede", "detach", "message= Fix = it "]);
        let expected = PushOptions {
            no_cache: true,
            detach: true,
            supersede: true,
            plan: false,
            message: Some("Fix = it".to_owned()),
        };
        assert_eq!(options, Ok(expected));
        assert!(
            parse(&["plan", "plan", "no-cache"])
                .expect("understood")
                .plan
        );
        assert_eq!(parse(&[]), Ok(PushOptions::default()));
    }

    #[test]
    fn others_are_refused_by_name() {
        let check = |options: &[&str], part: &str| {
            let reason = parse(options).expect_err("refused");
            assert!(reason.contains(part), "{options:?}: {reason}");
            assert!(reason.len() < 200, "fits into git's line: {reason}");
        };
        check(
            &["ci.skip"],
            "`ci.skip` is not known; known are no-cache, detach, supersede, plan, message=TEXT",
        );
        check(&["", "plan"], "`` is not known");
        check(&["Plan"], "`Plan`");
        check(&[&"x".repeat(1000)], "is not known");
        check(&["plan=yes"], "`plan` takes no value");
        check(&["message"], "needs a text");
        check(&["message=  "], "needs a text");
        check(&["message=a", "message=b"], "twice");
        check(
            &[&format!("message={}", "ä".repeat(201))],
            "longer than 200",
        );
        check(&["plan", "detach"], "exclude each other");
        check(&["supersede", "plan"], "a plan cancels nothing");
        check(&["plan", "message=x"], "makes none");
    }

    #[test]
    fn what_is_built_and_released_decides_whether_a_push_may_share() {
        let same = |a: &[&str], b: &[&str]| {
            let (a, b) = (parse(a).expect("known"), parse(b).expect("known"));
            a.same_deploy(&b)
        };
        assert!(same(&[], &["detach"]));
        assert!(!same(&[], &["plan"]));
        assert!(!same(&["no-cache"], &[]));
        assert!(!same(&["message=a"], &["message=b"]));
    }

    proptest! {
        #[test]
        fn any_text_is_an_option_or_an_error(options: Vec<String>) {
            _ = PushOptions::parse(&options);
        }
    }
}
