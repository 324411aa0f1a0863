//! Real components with a few bytes changed.

use std::time::Duration;

use super::drops::Sandbox;
use super::{Dice, seeds};
use crate::support::guests;

#[tokio::test]
async fn mutated_components_are_refused_or_run_and_end() {
    let sandbox = Sandbox::new();
    let guests = ["hello", "trap", "exit"].map(guests::component);
    let mut refused = 0;
    let seeds = seeds("mutants", 400);
    for seed in &seeds {
        let _named = super::Named { target: "mutants", seed: *seed };
        let mut dice = Dice::new(*seed);
        let mut component = dice.pick(&guests).to_vec();
        dice.mutate(&mut component);
        match sandbox.engine.install(component.into()).await {
            Ok(program) => drop(sandbox.run(&program, b"{}", Duration::from_millis(10)).await),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > seeds.len() / 4, "only {refused} were refused: the control");
    sandbox.has_everything_back();
}
