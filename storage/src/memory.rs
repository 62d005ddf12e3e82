use async_trait::async_trait;

use crate::{Health, Loaded, Record, Snapshot, Store, StoreError, StoreKind};

/// Keeps everything in this process and nothing beyond it.
///
/// For demonstrations and for subgroups whose operator accepts that a restart makes every member register again.
#[derive(Debug, Default)]
pub struct MemoryStore {
    held: Loaded,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops the records from `commit` on.
    pub(crate) fn forget_from(&mut self, commit: u64) {
        self.held.records.retain(|record| record.commit < commit);
    }

    fn last(&self) -> Option<u64> {
        let newest = self.held.records.last().map(|record| record.commit);
        newest.or_else(|| self.held.snapshot.as_ref().map(|snapshot| snapshot.upto))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut last = self.last();
        for record in records {
            let expected = last.map_or(record.commit, |last| last.saturating_add(1));
            if record.commit != expected || Some(record.commit) == last {
                return Err(StoreError::OutOfOrder { expected, found: record.commit });
            }
            last = Some(record.commit);
        }
        self.held.records.extend_from_slice(records);
        Ok(())
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        let health = if self.last().is_some() { Health::Whole } else { Health::Fresh };
        Ok(Loaded { health, ..self.held.clone() })
    }

    async fn compact(&mut self, snapshot: Snapshot) -> Result<(), StoreError> {
        let oldest = self.held.snapshot.as_ref().map(|snapshot| snapshot.upto);
        let last = self.last();
        if last < Some(snapshot.upto) || oldest > Some(snapshot.upto) {
            let held = match last {
                Some(last) => format!("{} to {last}", oldest.unwrap_or(0)),
                None => "nothing".to_owned(),
            };
            return Err(StoreError::SnapshotOutside { upto: snapshot.upto, held });
        }
        self.held.records.retain(|record| record.commit > snapshot.upto);
        self.held.snapshot = Some(snapshot);
        Ok(())
    }

    fn describe(&self) -> StoreKind {
        StoreKind::Memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(commit: u64) -> Record {
        Record { commit, bytes: commit.to_be_bytes().to_vec() }
    }

    #[tokio::test]
    async fn what_was_appended_is_loaded_in_order() {
        let mut store = MemoryStore::new();
        store.append(&[record(7), record(8)]).await.unwrap();
        store.append(&[record(9)]).await.unwrap();
        let loaded = store.load().await.unwrap();
        assert_eq!(loaded.records, vec![record(7), record(8), record(9)]);
        assert_eq!(loaded.snapshot, None);
    }

    #[tokio::test]
    async fn a_gap_or_a_repetition_is_refused_and_changes_nothing() {
        let mut store = MemoryStore::new();
        store.append(&[record(1), record(2)]).await.unwrap();
        for wrong in
            [vec![record(4)], vec![record(2)], vec![record(3), record(5)], vec![record(3), record(3)]]
        {
            assert!(matches!(store.append(&wrong).await, Err(StoreError::OutOfOrder { .. })));
        }
        assert_eq!(store.load().await.unwrap().records.len(), 2);
        store.append(&[record(u64::MAX)]).await.unwrap_err();
        let mut full = MemoryStore::new();
        full.append(&[record(u64::MAX)]).await.unwrap();
        full.append(&[record(u64::MAX)]).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_snapshot_replaces_the_records_it_contains_and_no_others() {
        let mut store = MemoryStore::new();
        store.append(&[record(1), record(2), record(3)]).await.unwrap();
        let snapshot = Snapshot { upto: 2, bytes: vec![0xAA] };
        store.compact(snapshot.clone()).await.unwrap();
        let loaded = store.load().await.unwrap();
        assert_eq!(
            loaded,
            Loaded { snapshot: Some(snapshot), records: vec![record(3)], health: Health::Whole }
        );
        store.append(&[record(4)]).await.unwrap();
    }

    #[tokio::test]
    async fn a_snapshot_of_unseen_or_older_records_is_refused() {
        let mut store = MemoryStore::new();
        let ahead = Snapshot { upto: 1, bytes: Vec::new() };
        assert!(matches!(store.compact(ahead).await, Err(StoreError::SnapshotOutside { .. })));
        store.append(&[record(1), record(2)]).await.unwrap();
        store.compact(Snapshot { upto: 2, bytes: Vec::new() }).await.unwrap();
        let older = Snapshot { upto: 1, bytes: Vec::new() };
        assert!(matches!(store.compact(older).await, Err(StoreError::SnapshotOutside { .. })));
        store.append(&[record(3)]).await.unwrap();
    }

    #[test]
    fn memory_says_that_nothing_survives() {
        assert_eq!(MemoryStore::new().describe().to_string(), "memory");
        assert!(!StoreKind::Memory.survives_restart());
    }
}
