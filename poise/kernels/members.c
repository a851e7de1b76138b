/* See members.h. */
#include "members.h"

/* Do all jobs for the members that no other thread has taken yet. Called once by each thread. */
POISE_EXPORT void poise_members(jobs *all) {
    float *scratch = all->scratch + atomic_fetch_add(&all->thread, 1) * all->scratch_size;
    for (;;) {
        const int64_t member = atomic_fetch_add(&all->next, 1);
        if (member >= all->members) return;
        for (int64_t i = 0; i < all->count; i++) all->jobs[i].work(all->jobs[i].its, member, scratch);
    }
}
