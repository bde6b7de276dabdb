//! Test files of rules end with promtool as they end with `belfry rules test`. The first line of each file in
//! `tests/golden/rules/promtool` says how; with a promtool in the folder that `BELFRY_PEERS` names, it is asked, too.

use std::path::{Path, PathBuf};

use belfry_e2e::{Home, peer, run_peer};

/// Files that must be there.
const ENOUGH: usize = 40;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/rules/promtool").canonicalize().expect("the folder")
}

/// Each file, whether it passes, and whether promtool says so, too.
fn files() -> Vec<(String, bool, bool)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a text");
        let Some(said) = text.lines().next().and_then(|l| l.strip_prefix("# ")) else { continue };
        all.push((name, said.starts_with("pass"), !said.contains("; promtool")));
    }
    all.sort();
    assert!(all.len() >= ENOUGH, "{}", all.len());
    all
}

#[tokio::test]
async fn test_files_end_as_they_say_and_as_promtool_says() {
    let home = Home::new("");
    let promtool = peer("promtool");
    for (name, passes, agreed) in files() {
        let path = folder().join(&name);
        let ours = home.run(&["rules", "test", path.to_str().expect("a path")]).await;
        assert_eq!(ours.code, Some(i32::from(!passes)), "{name}: {}{}", ours.stdout, ours.stderr);
        let Some(promtool) = promtool.as_ref().filter(|_| agreed) else { continue };
        let theirs = run_peer(promtool, &folder(), &["test", "rules", &name]).await;
        assert_eq!(theirs.code, ours.code, "{name}: promtool: {}{}", theirs.stdout, theirs.stderr);
    }
}

#[tokio::test]
async fn flags_of_promtool_are_taken() {
    let home = Home::new("");
    let path = |name: &str| folder().join(name).to_str().expect("a path").to_owned();
    let run = async |arguments: &[&str]| home.run(arguments).await.code;
    let unknown = path("unknown_field.yml");
    assert_eq!(run(&["rules", "test", &unknown]).await, Some(1));
    let flags = ["--ignore-unknown-fields", "--debug", "--diff", "--enable-feature=promql-experimental-functions"];
    let mut all = vec!["rules", "test"];
    all.extend(flags);
    all.push(&unknown);
    assert_eq!(run(&all).await, Some(0));
    let failing = path("failing.yml");
    assert_eq!(run(&["rules", "test", "--run", "nothing", "--run", "called so", &failing]).await, Some(0));
    assert_eq!(run(&["rules", "test", "--run", "nothing", "--run", "Failing alert", &failing]).await, Some(1));
    let rules = path("rules.yml");
    assert_eq!(run(&["rules", "check", &rules]).await, Some(0));
    assert_eq!(run(&["rules", "check", "--lint-fatal", &rules]).await, Some(3));
    assert_eq!(run(&["rules", "check", "--lint-fatal", "--lint=none", &rules]).await, Some(0));
    assert_eq!(run(&["rules", "check", "--lint=nonsense", &rules]).await, Some(1));
}
