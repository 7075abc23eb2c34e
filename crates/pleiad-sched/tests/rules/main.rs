//! The rules of the scheduler, each as a story in virtual time.

#[cfg(test)]
mod cancels;
#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod lanes;
#[cfg(test)]
mod losses;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod order;
#[cfg(test)]
mod world;
