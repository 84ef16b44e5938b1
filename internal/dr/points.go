package dr

import (
	"fmt"
	"slices"
	"time"
)

// A PointFilter says which recovery points are wanted. The zero filter takes all.
type PointFilter struct {
	Consistency   Consistency // at least; any when empty
	After, Before time.Time   // instants at or after, before; open when zero
	Named         bool        // only those with a name
}

// Validate returns an error of KindInvalid for a filter that means nothing.
func (f PointFilter) Validate() error {
	if f.Consistency != "" && f.Consistency.Rank() < 0 {
		return WithHint(fmt.Errorf("consistency %q is not known", f.Consistency), KindInvalid,
			fmt.Sprintf("one of %s, %s, %s", CrashConsistent, FilesystemConsistent, ApplicationConsistent))
	}
	if !f.After.IsZero() && !f.Before.IsZero() && !f.After.Before(f.Before) {
		return WithHint(fmt.Errorf("no instant is both at or after %s and before %s", f.After.Format(time.RFC3339), f.Before.Format(time.RFC3339)),
			KindInvalid, "exchange them")
	}
	return nil
}

// Apply returns those of the points that are wanted, in the order given.
func (f PointFilter) Apply(points []RecoveryPoint) []RecoveryPoint {
	return slices.DeleteFunc(slices.Clone(points), func(p RecoveryPoint) bool {
		return f.Consistency != "" && p.Kind.Rank() < f.Consistency.Rank() ||
			!f.After.IsZero() && p.Time.Before(f.After) ||
			!f.Before.IsZero() && !p.Time.Before(f.Before) ||
			f.Named && len(p.Names) == 0
	})
}

// ParseTime reads an instant as people write it: RFC 3339, or "2006-01-02 15:04[:05]" in a time zone.
func ParseTime(s string, zone *time.Location) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
