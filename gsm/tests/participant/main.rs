//! Whole nodes of one group on a small LAN in memory: managers that become one, strangers that talk to them, and nodes
//! that go from member to manager and back.

#[cfg(test)]
mod election;
#[cfg(test)]
mod finding;
#[cfg(test)]
mod following;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod lan;
#[cfg(test)]
mod merging;
#[cfg(test)]
mod removed;
#[cfg(test)]
mod returning;
#[cfg(test)]
mod rogues;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod succession;
#[cfg(test)]
mod thief;
