// Package watch decides what is told of problems that last: a problem is told when it has lasted, told again now and then
// while it lasts, told at once when it gets worse, and its end is told when it has been over for a while. What comes and
// goes is told once, not each time. All of it are pure functions of what was known and what is seen, so that a look which
// is repeated after a crash leads to the same.
package watch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
)

// Times of problems.
const (
	Quiet      = 2 * time.Minute  // that a problem must be over before its end is told, when it did not come back lately
	quietMost  = time.Hour        // the same of one that comes back again and again
	flapMemory = 6 * time.Hour    // after its end in which a problem that is back counts as having come back
	settling   = 10 * time.Second // after news in which looks are not believed: they may have read what was before it
)

// A Condition is something that is looked at, and wrong now unless Unknown or Over say otherwise.
type Condition struct {
	// Event is what is told of it. Its Key names the condition; ID, times, Kind, Ends and Repeat are filled in.
	Event notify.Event
	For   time.Duration // that it must last before it is told
	// Unknown says that it cannot be told now whether it is wrong: an open problem stays open, and none begins.
	Unknown bool
	// Over says why the problem is over for good: its end is told at once.
	Over string
	// End is the subject of the message that it is over.
	End string
}

// A Problem is what is known of a condition that was wrong. It is kept with what was told of it, in one transaction.
type Problem struct {
	Event  notify.Event `json:"event"`           // as last told, or as first seen
	End    string       `json:"end,omitempty"`   // subject of the message that it is over
	Since  time.Time    `json:"since"`           // when it was first seen
	Opened string       `json:"opened,omitzero"` // ID of the event that told of it; empty while it has not lasted
	Told   time.Time    `json:"told,omitzero"`   // when it was last told
	Times  int          `json:"times,omitempty"` // how often it was told
	Gone   time.Time    `json:"gone,omitzero"`   // since when it is not seen, of one that is open
	Comes  int          `json:"comes,omitempty"` // how often it was back after it was gone
	Closed time.Time    `json:"closed,omitzero"` // when its end was told
	Flaps  int          `json:"flaps,omitempty"` // how often it was told anew soon after its end
	News   time.Time    `json:"news,omitzero"`   // when Tell last opened or ended it
}

// Open reports whether the problem was told and not its end.
func (p Problem) Open() bool { return p.Opened != "" && p.Closed.IsZero() }

// A Look is what one look found.
type Look struct {
	At         time.Time // before anything was read
	Conditions []Condition
	// Repeat is the time between two messages of a critical problem that lasts, and a sixth part of that
	// often any other; never when 0.
	Repeat time.Duration
}

// Next returns the problems that a look changes, by key, and what is to be told. A problem that is to be forgotten is zero.
func Next(known map[string]Problem, l Look) (changed map[string]Problem, events []notify.Event) {
	changed = map[string]Problem{}
	seen := map[string]bool{}
	tell := func(key string, p Problem, e ...notify.Event) {
		changed[key] = p
		events = append(events, e...)
	}
	for _, c := range l.Conditions {
		key := c.Event.Key
		p, have := known[key]
		if seen[key] {
			continue
		}
		seen[key] = true
		if have && !p.News.IsZero() && l.At.Sub(p.News) < settling {
			continue
		}
		switch {
		case c.Over != "":
			if p.Open() {
				next, e := p.end(l.At, c.Over)
				tell(key, next, e)
			} else if have && p.Closed.IsZero() {
				changed[key] = Problem{}
			}
		case c.Unknown:
		case p.Open():
			if next, e, told := p.lasts(l, c); told {
				tell(key, next, e)
			} else if !p.Gone.IsZero() || p.End != c.End {
				tell(key, next)
			}
		default:
			next, e, told := p.begins(l, c)
			if told {
				tell(key, next, e)
			} else if !have || !p.Closed.IsZero() {
				tell(key, next)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		p := known[key]
		switch {
		case seen[key], !p.News.IsZero() && l.At.Sub(p.News) < settling:
		case !p.Closed.IsZero():
			if l.At.Sub(p.Closed) > flapMemory {
				changed[key] = Problem{}
			}
		case p.Opened == "":
			changed[key] = p.forgotten()
		case p.Gone.IsZero():
			p.Gone = l.At
			changed[key] = p
		case l.At.Sub(p.Gone) >= p.quiet():
			next, e := p.end(l.At, p.End)
			tell(key, next, e)
		}
	}
	return changed, events
}

// quiet is how long the problem must be over before its end is told.
func (p Problem) quiet() time.Duration { return min(quietMost, Quiet<<min(p.Flaps, 10)) }

// forgotten is a problem that did not last: what is known of its end before stays.
func (p Problem) forgotten() Problem {
	if p.Flaps == 0 {
		return Problem{}
	}
	p.Closed, p.Flaps = p.Since, p.Flaps-1
	return p
}

// begins is a condition that is wrong and was not told.
func (p Problem) begins(l Look, c Condition) (Problem, notify.Event, bool) {
	if p.Since.IsZero() || !p.Closed.IsZero() {
		flaps := 0
		if !p.Closed.IsZero() && l.At.Sub(p.Closed) <= flapMemory {
			flaps = p.Flaps + 1
		}
		p = Problem{Event: c.Event, Since: l.At.UTC(), Flaps: flaps}
	}
	if l.At.Sub(p.Since) < c.For {
		return p, notify.Event{}, false
	}
	e := c.Event
	e.Kind, e.Since, e.Repeat, e.Ends = notify.Problem, p.Since, 0, ""
	p, e = p.told(l.At, c, e)
	p.Opened = e.ID
	return p, e, true
}

// lasts is a problem that was told and is still there.
func (p Problem) lasts(l Look, c Condition) (Problem, notify.Event, bool) {
	p.End = c.End
	if !p.Gone.IsZero() {
		p.Gone = time.Time{}
		p.Comes++
	}
	worse := c.Event.Severity.Compare(p.Event.Severity) > 0
	every := l.Repeat
	if p.Event.Severity != notify.Critical {
		every *= 6
	}
	if !worse && (every <= 0 || l.At.Sub(p.Told) < every) {
		return p, notify.Event{}, false
	}
	e := c.Event
	if p.Event.Severity.Compare(e.Severity) > 0 {
		e.Severity = p.Event.Severity // whoever was told of it at its worst is told how it goes on
	}
	e.Kind, e.Since, e.Repeat, e.Ends = notify.Problem, p.Since, p.Times, p.Opened
	p, e = p.told(l.At, c, e)
	return p, e, true
}

func (p Problem) told(at time.Time, c Condition, e notify.Event) (Problem, notify.Event) {
	p.Times++
	e.Time, e.ID = at.UTC(), p.id(p.Times)
	e.Text = strings.TrimSpace(e.Text + p.history())
	p.Event, p.End, p.Told = e, c.End, at.UTC()
	return p, e
}

// id of the n-th message of this occurrence.
func (p Problem) id(n int) string {
	key := strings.Map(func(r rune) rune { // IDs are also those of mails
		if r < 0x80 && (r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, p.Event.Key)
	return fmt.Sprintf("%s-%d-%d", key, p.Since.UnixMilli(), n)
}

func (p Problem) history() string {
	if p.Comes == 0 {
		return ""
	}
	return fmt.Sprintf("\nIt came and went %d times.", p.Comes)
}

// end closes a problem.
func (p Problem) end(at time.Time, subject string) (Problem, notify.Event) {
	over := p.Gone
	if over.IsZero() {
		over = at
	}
	e := p.Event
	e.Kind, e.Time, e.ID, e.Ends, e.Since, e.Repeat = notify.Resolved, at.UTC(), p.id(p.Times+1), p.Opened, p.Since, 0
	e.Subject, e.Loss, e.Next = subject, "", nil
	e.Text = fmt.Sprintf("It lasted %s.%s", dr.FormatDuration(max(time.Second, over.Sub(p.Since).Truncate(time.Second))), p.history())
	p.Closed = at.UTC()
	return p, e
}

// Tell brings news that is no look into what is known of its problem: a failure opens the problem of its key, and a
// success ends it. now is when it is recorded, which may be later than the news. It returns the news as it is to be told.
func (p Problem) Tell(e notify.Event, now time.Time) (Problem, notify.Event) {
	switch e.Kind {
	case notify.Failure, notify.Problem:
		if p.Open() {
			e.Ends, e.Since, e.Repeat = p.Opened, p.Since, 0
			if p.Event.Severity.Compare(e.Severity) > 0 {
				e.Severity = p.Event.Severity
			}
		} else {
			flaps := 0
			if !p.Closed.IsZero() && now.Sub(p.Closed) <= flapMemory {
				flaps = p.Flaps + 1
			}
			p = Problem{Opened: e.ID, Since: e.Time, Flaps: flaps}
		}
		p.Times++
		p.Event, p.End, p.Told, p.News, p.Gone = e, e.Source+": it is over", now.UTC(), now.UTC(), time.Time{}
	case notify.Success, notify.Resolved:
		if p.Open() {
			e.Ends, e.Since = p.Opened, p.Since
			if p.Event.Severity.Compare(e.Severity) > 0 {
				e.Severity = p.Event.Severity
			}
			p.Closed, p.News = now.UTC(), now.UTC()
		} else if p.Closed.IsZero() {
			p = Problem{}
		}
	}
	return p, e
}
