//! On what an image runs, and for what a buildpack is made (buildpack spec, "Targets").

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use crate::env::{Env, set};

/// Of a run image (`[run-image.target]` in analyzed.toml).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) arch: String,
    #[serde(
        default,
        rename = "arch-variant",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) variant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distro: Option<Distro>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Distro {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
}

/// Of a buildpack; what it leaves out is as it may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) arch: String,
    #[serde(default, rename = "arch-variant")]
    pub(crate) variant: String,
    #[serde(default)]
    pub(crate) distros: Vec<Distro>,
}

impl Target {
    /// What an image leaves unsaid is as on this machine.
    pub(crate) fn complete(self) -> Self {
        if self.distro.is_some() {
            return self;
        }
        let or = |value: String, default: &str| {
            if value.is_empty() {
                default.to_owned()
            } else {
                value
            }
        };
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self {
            os: or(self.os, "linux"),
            arch: or(self.arch, container::image::oci_architecture()),
            distro: Distro::of_release(&release),
            ..self
        }
    }

    pub(crate) fn suits(&self, wanted: &Wanted) -> bool {
        let distros = &wanted.distros;
        let of = |distro: &Distro| {
            distros.iter().any(|wanted| {
                agree(&distro.name, &wanted.name) && agree(&distro.version, &wanted.version)
            })
        };
        agree(&self.os, &wanted.os)
            && agree(&self.arch, &wanted.arch)
            && agree(&self.variant, &wanted.variant)
            && (distros.is_empty() || self.distro.as_ref().is_some_and(of))
    }

    /// Whether an image on `self` may be put onto `other` (platform spec, "Rebase").
    pub(crate) fn can_move_to(&self, other: &Self) -> bool {
        let is_same_distro = || {
            let (Some(own), Some(new)) = (&self.distro, &other.distro) else {
                return other.distro.is_none();
            };
            (new.name.is_empty() || new.name == own.name)
                && (new.version.is_empty() || new.version == own.version)
        };
        self.os == other.os
            && self.arch == other.arch
            && agree(&self.variant, &other.variant)
            && is_same_distro()
    }

    /// CNB_TARGET_*.
    pub(crate) fn set(&self, env: &mut Env) {
        set(env, "CNB_TARGET_OS", &self.os);
        set(env, "CNB_TARGET_ARCH", &self.arch);
        let distro = self.distro.clone().unwrap_or_default();
        for (name, value) in [
            ("CNB_TARGET_ARCH_VARIANT", &self.variant),
            ("CNB_TARGET_DISTRO_NAME", &distro.name),
            ("CNB_TARGET_DISTRO_VERSION", &distro.version),
        ] {
            if !value.is_empty() {
                set(env, name, value);
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.os, self.arch, self.variant)?;
        match &self.distro {
            Some(distro) => write!(f, " {} {}", distro.name, distro.version),
            None => Ok(()),
        }
    }
}

impl From<container::stack::Target> for Target {
    fn from(target: container::stack::Target) -> Self {
        let distro = Distro {
            name: target.distro.name,
            version: target.distro.version,
        };
        Self {
            id: None,
            os: target.os,
            arch: target.arch,
            variant: String::new(),
            distro: (distro != Distro::default()).then_some(distro),
        }
    }
}

impl Distro {
    /// os-release(5).
    fn of_release(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        let distro = Self {
            name: field("ID"),
            version: field("VERSION_ID"),
        };
        (distro != Self::default()).then_some(distro)
    }
}

/// What one side does not say, the other may choose.
fn agree(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `os arch variant name version`, `-` for nothing.
    fn target(text: &str) -> Target {
        let fields: Vec<&str> = text
            .split(' ')
            .map(|field| field.trim_matches('-'))
            .collect();
        let distro = Distro {
            name: fields[3].to_owned(),
            version: fields[4].to_owned(),
        };
        Target {
            id: None,
            os: fields[0].to_owned(),
            arch: fields[1].to_owned(),
            variant: fields[2].to_owned(),
            distro: (distro != Distro::default()).then_some(distro),
        }
    }

    fn wanted(text: &str) -> Wanted {
        let of = target(text);
        Wanted {
            os: of.os,
            arch: of.arch,
            variant: of.variant,
            distros: of.distro.into_iter().collect(),
        }
    }

    #[test]
    fn a_buildpack_leaves_open_what_it_does_not_say() {
        for (image, buildpack, expected) in [
            ("linux amd64 - debian 12", "- - - - -", true),
            ("linux amd64 - debian 12", "linux - - - -", true),
            ("linux amd64 - debian 12", "windows - - - -", false),
            ("linux amd64 - debian 12", "linux arm64 - - -", false),
            ("linux arm64 v8 debian 12", "linux arm64 v6 - -", false),
            ("linux arm64 - debian 12", "linux arm64 v6 - -", true),
            ("linux amd64 - debian 12", "linux amd64 - debian -", true),
            ("linux amd64 - debian 12", "linux amd64 - debian 11", false),
            ("linux amd64 - debian 12", "linux amd64 - ubuntu 12", false),
            ("linux amd64 - - -", "linux amd64 - debian 12", false),
        ] {
            assert_eq!(
                target(image).suits(&wanted(buildpack)),
                expected,
                "{image}, {buildpack}"
            );
        }
    }

    #[test]
    fn an_image_moves_only_to_its_like() {
        for (app, run, expected) in [
            ("linux amd64 - debian 12", "linux amd64 - debian 12", true),
            ("linux amd64 - debian 12", "linux amd64 - - -", true),
            ("linux amd64 - - -", "linux amd64 - debian 12", false),
            ("linux amd64 - debian 12", "linux amd64 - debian 13", false),
            ("linux amd64 - debian 12", "linux arm64 - debian 12", false),
            ("linux arm64 v7 - -", "linux arm64 v8 - -", false),
            ("linux arm64 v7 - -", "linux arm64 - - -", true),
        ] {
            assert_eq!(
                target(app).can_move_to(&target(run)),
                expected,
                "{app}, {run}"
            );
        }
    }

    #[test]
    fn what_an_image_does_not_say_is_as_here() {
        let complete = Target::default().complete();
        assert_eq!(complete.os, "linux");
        assert!(!complete.arch.is_empty());
        let said = target("linux s390x - debian 12");
        assert_eq!(said.clone().complete(), said);
        let release = "NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n";
        let distro = Distro::of_release(release).unwrap();
        assert_eq!(
            (distro.name.as_str(), distro.version.as_str()),
            ("debian", "12")
        );
        assert_eq!(Distro::of_release(""), None);
    }
}
