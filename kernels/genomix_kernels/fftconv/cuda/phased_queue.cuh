// One launch for all phases: blocks draw items in one order, in which whatever an item waits for comes before it.
//
// Groups of channels pass through the phases one behind the other, so that at any time some blocks read inputs, some
// work on rows and some write outputs. In step s come the items of the last phase for group s - PHASES + 1, ..., those
// of the first for group s. An item waits for all of its group's previous phase, and the first phase for the last one
// of the group that had its place in the ring of planes before. The lowest item not done yet never waits: all get done.
#pragma once

// the thread that says what is done; any other than the first would share the latency (to be measured)
#ifndef SPEAKER
#define SPEAKER 0
#endif

struct Item { int phase, group, index; };

// `size(phase, group)` is how many items there are. Only the first thread counts and waits, and mostly while the
// others' loads are on their way: `look_ahead` is called once in each item, between its loads and the next barrier.
template <int PHASES, int RING, class Size> struct Queue {
    int* progress;  // the next ticket, then how many items of [phase][group] are done; zeros at first
    int groups;
    Size size;
    int* slots;  // in shared memory: [2][4], of this item and the next one, and what only the first thread needs
    int turn;
    // the phase of the ticket and the first ticket of that phase in this step; `unsaid` is the count of an item that is
    // done, but not said to be
    int &step, &phase, &base, &ticket, &unsaid;
    DEVICE Queue(int* counts, int n_groups, Size of, int* shared)
        : progress(counts), groups(n_groups), size(of), slots(shared), turn(0), step(shared[8]), phase(shared[9]),
          base(shared[10]), ticket(shared[11]), unsaid(shared[12]) {
        if (thread_index() == SPEAKER) unsaid = -1;
        if (thread_index() == 0) {
            step = base = 0, phase = PHASES - 1;
            ticket = take_ticket(progress);
        }
        look_ahead();
    }
    DEVICE int done(int of_phase, int group) const { return 1 + of_phase * groups + group; }
    // tickets grow; phase -1 at the end
    DEVICE Item item_of_ticket() {
        while (step < groups + PHASES - 1) {
            int group = step - phase, n = group >= 0 && group < groups ? size(phase, group) : 0;
            if (ticket - base < n) return Item{phase, group, ticket - base};
            base += n;
            if (--phase < 0) phase = PHASES - 1, ++step;
        }
        return Item{-1, 0, 0};
    }
    // what an item waits for: a count, and its number
    DEVICE int before(const Item& item, int& count) const {
        bool is_first = item.phase == 0;
        int of_phase = is_first ? PHASES - 1 : item.phase - 1, group = is_first ? item.group - RING : item.group;
        count = item.phase < 0 || group < 0 ? 0 : size(of_phase, group);
        return count == 0 ? 0 : done(of_phase, group);
    }
    DEVICE void say_done() {
        if (unsaid >= 0) signal_done(progress + unsaid);
        unsaid = -1;
    }
    DEVICE void look_ahead() {
        if (thread_index() == SPEAKER) say_done();
        if (thread_index() != 0) return;
        Item next = item_of_ticket();
        if (next.phase >= 0) ticket = take_ticket(progress);
        int count, number = before(next, count);
        int* slot = slots + 4 * (turn ^ 1);
        slot[0] = next.phase, slot[1] = next.group, slot[2] = next.index;
        slot[3] = count_done(progress + number) >= count;
    }
    // the next item, once `last` is done; every thread gets it
    DEVICE Item next(const Item& last) {
        barrier();
        turn ^= 1;
        const int* slot = slots + 4 * turn;
        Item item{slot[0], slot[1], slot[2]};
        bool is_ready = slot[3] != 0 && item.phase >= 0;
        if (thread_index() == SPEAKER) {
            if (last.phase >= 0) unsaid = done(last.phase, last.group);
            if (!is_ready) say_done();
        }
        if (!is_ready && thread_index() == 0) {
            int count, number = before(item, count);
            if (count > 0) wait_until_done(progress + number, count);
        }
        if (!is_ready) barrier();
        return item;
    }
};
