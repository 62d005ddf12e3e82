//! The member as a machine, driven by hand: what managers, false managers and strangers can make it do.

#[cfg(test)]
mod comeback;
#[cfg(test)]
mod election;
#[cfg(test)]
mod evicted;
#[cfg(test)]
mod following;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod losing;
#[cfg(test)]
mod manager;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod node;
#[cfg(test)]
mod others;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod promotion;
#[cfg(test)]
mod registrars;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod resync;
#[cfg(test)]
mod revocations;
#[cfg(test)]
mod searching;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod successors;
#[cfg(test)]
mod unchanged;
#[cfg(test)]
mod witness;
