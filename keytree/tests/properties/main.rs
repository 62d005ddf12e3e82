//! Properties of the key tree over random histories of batches, one property a file.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod coalition;
#[cfg(test)]
mod entry_count;
#[cfg(test)]
mod newcomers;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod step_limits;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unchanged;
