#[cfg(fuzzing)]
#[doc(hidden)]
mod fuzzing;
#[cfg(measuring)]
#[doc(hidden)]
mod measuring;
#[cfg(all(test, model_check))]
mod models;
