//! The manager as a machine, driven by hand: what nodes, strangers and former members can make it do.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod another_manager;
#[cfg(test)]
mod comeback;
#[cfg(test)]
mod confirmation;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod follower;
#[cfg(test)]
mod leaves;
#[cfg(test)]
mod numbers;
#[cfg(test)]
mod out_of_place;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod resync;
#[cfg(test)]
mod revocations;
#[cfg(test)]
mod support;
