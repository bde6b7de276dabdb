//! Compiling in a child process: this test is its own child, as `belfry` is.
#![allow(missing_docs)]

mod common;

use std::process::ExitCode;

use belfry_model::TimestampMs;
use belfry_plugin::CompileMode;
use common::{Host, probe};

/// Makes this program the compiler.
const CHILD: &str = "compile-component";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == CHILD) {
        return belfry_plugin::compile_main(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(a_component_is_compiled_once_and_a_tampered_file_again());
    runtime.block_on(a_broken_component_is_told_in_the_compilers_words());
    ExitCode::SUCCESS
}

fn host(cache: &std::path::Path) -> Host {
    Host::with(|config| {
        config.cache_dir = cache.to_owned();
        config.compile = CompileMode::ChildProcess {
            exe: std::env::current_exe().expect("this program"),
            args: vec![CHILD.to_owned()],
        };
    })
}

fn compiled(cache: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(cache).expect("the cache").flatten().map(|e| e.path());
    entries.filter(|p| p.extension().is_some_and(|e| e != "key")).collect()
}

async fn collects(host: &Host) {
    let plugin = host.runtime.load(probe(&["push:a"])).await.expect("it loads");
    assert_eq!(plugin.collect(TimestampMs(0)).await.expect("it collects").refs.len(), 1);
}

async fn a_component_is_compiled_once_and_a_tampered_file_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cwasm");
    collects(&host(&cache)).await;
    let files = compiled(&cache);
    assert_eq!(files.len(), 2, "code and its MAC, no scratch files: {files:?}");
    let code = files.iter().find(|p| p.extension().is_some_and(|e| e == "cwasm")).expect("the code").clone();
    let written = |path| std::fs::metadata(path).and_then(|m| m.modified()).expect("its time");

    let first = written(&code);
    collects(&host(&cache)).await;
    assert_eq!(written(&code), first, "taken from the cache");

    let mut bytes = std::fs::read(&code).expect("the code");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    // Replaced, not written into: the file is still mapped by the runtimes above.
    std::fs::remove_file(&code).expect("removed");
    std::fs::write(&code, &bytes).expect("written");
    collects(&host(&cache)).await;
    assert_ne!(std::fs::read(&code).expect("the code"), bytes, "compiled again");
}

async fn a_broken_component_is_told_in_the_compilers_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = folder.path().join("broken.wasm");
    // It exports the right names, but as empty instances: that is seen when it is linked.
    let text = r#"(component (instance $i)
        (export "belfry:plugin/plugin@0.1.0" (instance $i)) (export "belfry:plugin/collector@0.1.0" (instance $i)))"#;
    std::fs::write(&wasm, wat::parse_str(text).expect("it is text")).expect("written");
    let host = host(&folder.path().join("cwasm"));
    let mut spec = probe(&[]);
    spec.source = belfry_plugin::ComponentSource::File(wasm.clone());
    let error = host.runtime.load(spec.clone()).await.expect_err("it has no functions");
    assert!(error.reason.starts_with("it does not fit the contract: "), "{error}");

    // A module inside whose code makes no sense: that is seen when it is compiled.
    let text = text.replacen("(component", "(component (core module (func (result i32) i32.const 1))", 1);
    let mut bytes = wat::parse_str(text).expect("it is text");
    let at = bytes.windows(3).position(|w| w == [0x41, 0x01, 0x0b]).expect("i32.const 1, end");
    bytes[at] = 0x01; // nop: then nothing is returned
    bytes[at + 1] = 0x01;
    std::fs::write(&wasm, bytes).expect("written");
    let error = host.runtime.load(spec).await.expect_err("it is not valid");
    assert!(error.reason.starts_with("it cannot be compiled: "), "{error}");
    assert!(error.reason.contains("type mismatch"), "{error}");
}
