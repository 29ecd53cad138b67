//! A running source.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use rdkafka::consumer::base_consumer::BaseConsumer;

use super::context::Context;
use super::options::client_config;
use super::partition::Positions;
use super::reading::Reading;
use super::shared::Shared;
use super::{Config, KafkaHealth, lock};
use crate::Error;
use crate::intake::Queue;
use crate::record::Recorder;

/// A running source.
pub(crate) struct Source {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts to read. What Kafka or its client refuses ends this source and is told by its health; everything else
    /// goes on.
    pub(crate) fn start(
        config: &Config,
        instance: &str,
        queue: Arc<Queue>,
        positions: Arc<Positions>,
        recorder: Recorder,
    ) -> Result<Source, Error> {
        let shared = Arc::new(Shared::new(config, queue, positions, recorder));
        let context = Context { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<Context> = client_config(config, instance)?.create_with_context(context)?;
        let names: Vec<String> = config.topics.iter().map(|topic| topic.name.clone()).collect();
        let reading = Reading::new(consumer, config, Arc::clone(&shared));
        let told = Arc::clone(&shared);
        let run = move || {
            if let Err(reason) = reading.run(&names) {
                tracing::error!(reason, "Kafka is not read any more; everything else goes on");
                *lock(&told.stopped) = Some(reason);
            }
        };
        let thread = std::thread::Builder::new().name("kafka".to_owned()).spawn(run)?;
        Ok(Source { shared, thread: Some(thread) })
    }

    pub(crate) fn health(&self) -> KafkaHealth {
        self.shared.health()
    }

    /// Fetches nothing more, waits until what was fetched is durable, tells Kafka, leaves.
    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Leaves at once.
    pub(crate) fn abandon(&self) {
        self.shared.abandoned.store(true, Ordering::Release);
        self.stop();
    }

    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _panicked_and_said_so = thread.join();
        }
    }
}
