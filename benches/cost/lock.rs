//! Measures how long the store lock is held.

use std::time::Duration;

use lanes::internals::model::{Command, TaskId};
use lanes::internals::store::{Store, last_lock_hold};

use crate::measure::quantile;
use crate::scene::{Scene, answer, wish};
use crate::support::{Plan, owner};

const TIMES: usize = 500;

pub fn run() {
    println!("microseconds: median, worst of {TIMES}");
    let few = measure(&Scene::empty());
    let many = measure(&Scene::filled(&Plan::of(100_000)));
    println!("{:<10} {:>22} {:>22}", "", "empty store", "100,000 stored");
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        println!("{name:<10} {:>22} {:>22}", shown(few), shown(many));
    }
}

fn shown(times: &[Duration]) -> String {
    let micros = |q: f64| quantile(times, q).as_secs_f64() * 1e6;
    format!("{:.0}, {:.0}", micros(0.5), micros(1.0))
}

fn measure(scene: &Scene) -> Vec<(&'static str, Vec<Duration>)> {
    let store = scene.store();
    let mut ids: Vec<TaskId> = Vec::new();
    let submit =
        each(|_| ids.push(store.submit(wish(store.root())).expect("a task can be submitted").task.id));
    let claim = each(|n| {
        drop(store.claim(&ids[n], &owner("bench"), Duration::from_secs(3600)).expect("it can be claimed"))
    });
    let renew = each(|n| {
        let token = token(&store, &ids[n]);
        store.apply(&ids[n], &Command::Renew { token, lease: None }).expect("it can be renewed");
    });
    let release = each(|n| {
        let token = token(&store, &ids[n]);
        let release = Command::Release { token, reason: None, delay: None, spent: None };
        store.apply(&ids[n], &release).expect("it can be released");
    });
    let again = each(|n| {
        drop(store.claim(&ids[n], &owner("bench"), Duration::from_secs(3600)).expect("it can be claimed"))
    });
    drop(again);
    let respond = each(|n| {
        let token = token(&store, &ids[n]);
        store.apply(&ids[n], &answer(token)).expect("it can be answered");
    });
    vec![("submit", submit), ("claim", claim), ("renew", renew), ("release", release), ("respond", respond)]
}

fn each(mut work: impl FnMut(usize)) -> Vec<Duration> {
    (0..TIMES)
        .map(|n| {
            work(n);
            last_lock_hold()
        })
        .collect()
}

fn token(store: &Store, id: &TaskId) -> lanes::internals::model::ClaimToken {
    store.task(id).expect("it can be read").status.claim().expect("it is claimed").token.clone()
}
