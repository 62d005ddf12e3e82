//! Leaf secrets that are replaced because somebody outside has known them all.

use crypto::{Secret, Suite};
use keytree::{Batch, Degree, Epoch, Join, KeyPath, KeyTree, PathError, RegNo, TreeId, step_leaf};

const SUITE: Suite = Suite::Aes256Ctr;
const LEAF: Secret<32> = Secret::new([7; 32]);
const RENEWED: Secret<32> = Secret::new([9; 32]);
const AT: RegNo = RegNo(5);

fn path(leaf: Secret<32>, leaf_steps: u16) -> KeyPath {
    KeyPath::new(SUITE, TreeId(0), Degree::default(), AT, leaf, leaf_steps)
}

#[test]
fn a_member_that_lags_behind_in_steps_finds_the_leaf_secret_that_is_renewed() {
    let path = path(LEAF, 3);
    assert_eq!(path.leaf_at(3), Ok(LEAF));
    assert_eq!(path.leaf_at(5), Ok(step_leaf(SUITE, TreeId(0), AT, &LEAF, 2)));
    assert!(matches!(path.leaf_at(2), Err(PathError::Behind { .. })));
    assert!(matches!(path.leaf_at(u16::MAX), Err(PathError::NeedsRepair { .. })));
}

/// What the manager seals under the renewed secret opens for whoever has renewed, and for nobody who has not.
#[test]
fn a_renewed_path_follows_a_tree_of_renewed_leaves_and_the_old_one_does_not() {
    let mut tree = KeyTree::resumed(SUITE, TreeId(0), Degree::default(), 5);
    let joins = vec![
        Join { reg_no: AT, leaf: RENEWED, leaf_steps: 5 },
        Join { reg_no: RegNo(0), leaf: Secret::new([1; 32]), leaf_steps: 5 },
    ];
    let batch = Batch { joins, leaves: Vec::new(), refresh_root: false, step_leaves: false };
    let mut xof = crypto::MessageXof::new(SUITE, &Secret::new([3; 32]), &[b"renewal"]);
    let staged = tree.stage(Epoch(1), &batch, &mut xof).unwrap();
    let (root, secret) = staged.root().unwrap();
    let secret = secret.clone();
    let view = keytree::RekeyView {
        epoch: Epoch(1),
        iv: staged.iv(),
        height: staged.height(),
        root,
        leaf_steps: staged.leaf_steps(),
        targets: staged.targets(),
        entries: staged.all_entries(),
    };
    let mut old = path(LEAF, 3);
    assert!(old.apply_if(&view, |_, root| *root == secret).is_err());
    let mut renewed = old.renewed(RENEWED, 5);
    assert_eq!((renewed.reg_no(), renewed.leaf_steps(), renewed.height()), (AT, 5, 0));
    renewed.apply_if(&view, |_, root| *root == secret).unwrap();
    tree.merge(staged).unwrap();
    assert_eq!(renewed.root(), tree.root());
}
