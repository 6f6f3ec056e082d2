package process

// EndOrphans kills what has the mark of a launcher in its environment, except for what is shared with others: what that
// has left when its process was killed. It returns when they are gone, or after some rounds, and whether there were any.
func EndOrphans(mark string) (some bool) { return endOrphans([]string{mark}, new(groups)) }
