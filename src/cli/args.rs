//! Arguments that commands share, and what they open: the pipeline, its store and its models.
//!
//! Must not know: what any command does with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::config::sweep::Axis;
use crate::config::{self, Pipeline};
use crate::engine::{Plan, Planner};
use crate::error::{Error, Result};
use crate::model::Loaded;
use crate::store::Store;

/// The pipeline file that is meant where none is named.
pub const PIPELINE: &str = "pipeline.toml";

/// Which pipeline, and what is changed in it.
#[derive(Args, Clone, Debug)]
pub struct PipelineArgs {
    /// The pipeline file
    #[arg(long, short, value_name = "FILE", default_value = PIPELINE)]
    pub config: PathBuf,
    /// Override a setting; VALUE is TOML. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// auto, cpu, cuda or cuda:N; the same as --set 'run.device="X"'
    #[arg(long, value_name = "X")]
    pub device: Option<String>,
    /// Values of the file's `[sweep]` that hold for one of its jobs, as `--set` takes them.
    #[arg(skip)]
    pub swept: Vec<String>,
}

/// Over which settings the job is swept.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// Take each of these values in turn, and join the jobs of all combinations in one table: 'data.*.seed=0..5',
    /// score.method=snip,wanda, 'select.q=logspace(1e-6,1e-4,5)'. Seeds and skips are draws, over which is joined. In place of
    /// what `[sweep]` in the file says of the same setting
    #[arg(long, value_name = "KEY=VALUES", value_parser = Axis::parse)]
    pub sweep: Vec<Axis>,
    /// Take the first values of all axes together, then the second ones, and so on
    #[arg(long)]
    pub zip: bool,
    /// Take the job as it is, without the file's `[sweep]`
    #[arg(long, conflicts_with_all = ["sweep", "zip"])]
    pub no_sweep: bool,
}

/// Whether the answer is for a program.
#[derive(Args, Clone, Copy, Debug)]
pub struct JsonArg {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

impl PipelineArgs {
    /// The pipeline under the overrides.
    pub fn pipeline(&self) -> Result<Pipeline> {
        let mut sets = self.sets.clone();
        sets.extend(self.device.iter().map(|device| format!("run.device={}", toml::Value::from(device.as_str()))));
        config::load_swept(&self.config, &self.swept, &sets, &working_directory()?)
    }

    /// The pipeline with its store, ready for planning.
    pub fn job(&self) -> Result<Job> {
        Job::new(self.pipeline()?)
    }
}

/// The working directory, which paths on the command line are relative to.
pub fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|cause| Error::io("find the working directory", Path::new("."), &cause))
}

/// A pipeline with its store and its models.
pub struct Job {
    pub pipeline: Pipeline,
    pub store: Store,
    pub models: Arc<Loaded>,
}

impl Job {
    /// A job that uses the models that another one has open.
    pub fn beside(pipeline: Pipeline, other: &Self) -> Result<Self> {
        let is_shared = pipeline.run.device == other.pipeline.run.device;
        let job = Self::new(pipeline)?;
        Ok(if is_shared { Self { models: other.models.clone(), ..job } } else { job })
    }

    pub fn new(pipeline: Pipeline) -> Result<Self> {
        if let Some(threads) = pipeline.run.threads {
            // Fails only where the pool is there already, and then there is nothing to choose any more.
            let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        }
        let store = Store::open(&pipeline.run.store)?;
        let models = Arc::new(Loaded::new(pipeline.run.device));
        Ok(Self { pipeline, store, models })
    }

    pub fn planner(&self) -> Planner<'_> {
        Planner::new(&self.pipeline, &self.store, &self.models)
    }

    /// The planner and the plan as the store is now.
    pub fn plan(&self) -> Result<(Planner<'_>, Plan)> {
        let planner = self.planner();
        let plan = planner.plan(false)?;
        Ok((planner, plan))
    }

    /// The bytes of an output in the store; none while it is not computed.
    pub fn output(&self, plan: &Plan, node: &str, output: &str) -> Result<Option<Vec<u8>>> {
        let record = plan.find(node).and_then(|planned| planned.record.as_ref());
        match record.and_then(|record| record.outputs.get(output)) {
            Some(output) => self.store.read(&output.digest).map(Some),
            None => Ok(None),
        }
    }
}

/// Which store.
#[derive(Args, Debug)]
pub struct Where {
    /// The store's directory; without it, run.store of the pipeline
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub json: JsonArg,
}

impl Where {
    pub fn open(&self) -> Result<Store> {
        if let Some(dir) = &self.store {
            return Store::open(&working_directory()?.join(dir));
        }
        if !self.pipeline.config.exists() {
            let file = self.pipeline.config.display();
            return Err(Error::user(format!("there is no {file}, so it is not known which store is meant"))
                .hint("name the store with --store DIR, or a pipeline with --config FILE"));
        }
        Store::open(&self.pipeline.pipeline()?.run.store)
    }
}
