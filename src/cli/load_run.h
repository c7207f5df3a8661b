// Runs a load on as many threads as it is to have, and shows how far it has come.
#pragma once

#include "heddle/result.h"

#include "cli/demo_progress.h"
#include "cli/load_plan.h"
#include "cli/load_tally.h"

namespace heddle::cli {

// Blocks the thread until the load has ended: as planned, after SIGINT or SIGTERM, or because no
// connection could be opened. Fails if it could not even be tried.
Result<LoadTally> run_load(const LoadPlan& plan, Progress* progress);

}  // namespace heddle::cli
