package extension

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// observeNative looks at the extensions that the site manages itself, and returns them with what is left of before for the
// handlers of the catalogue.
func (p place) observeNative(ctx context.Context, machine string, before []dr.Extension) (list, left []dr.Extension) {
	owned := func(e dr.Extension) bool { return p.native.Owns(e) }
	left = slices.DeleteFunc(slices.Clone(before), owned)
	list, err := p.native.Extensions(ctx, machine)
	for _, was := range before {
		if !owned(was) || find(list, was.Name) != nil {
			continue
		}
		// It must be there until somebody removes it for good.
		was.Status, was.Message, was.Heartbeat = dr.ExtensionAbsent, "it is not installed any more", time.Time{}
		if err != nil {
			was.Status, was.Message = dr.ExtensionUnknown, err.Error()
		}
		list = append(list, was)
	}
	for i := range list {
		if was := find(before, list[i].Name); was != nil {
			list[i] = keepWanted(list[i], *was)
		}
	}
	return list, left
}

// keepWanted keeps in what is seen of an ailing extension what it must be again: an extension that was copied with a disk
// is associated with nothing.
func keepWanted(e, was dr.Extension) dr.Extension {
	if e.Status == dr.ExtensionHealthy {
		return e
	}
	if len(e.Associations) == 0 {
		e.Associations = was.Associations
	}
	if e.Protected == nil {
		e.Protected = was.Protected
	}
	return e
}

// handles reports whether machines of the site may have extensions of the catalogue.
func (p place) handles(before []dr.Extension) bool {
	for _, e := range p.catalogue {
		if _, ok := e.Handlers[p.site.Provider]; ok {
			return true
		}
	}
	return len(before) > 0
}

// restoreNative lets the site restore an extension that it manages itself.
func (p place) restoreNative(ctx context.Context, q Request, m dr.Machine, r site.RestoreExtension) (dr.RestoreOutcome, string, time.Time, error) {
	r.Source, r.Attributes, r.Rehearsal, r.Secret = q.Source, m.Attributes, q.Rehearsal, Secret
	r.Say = func(format string, args ...any) {
		if q.Say != nil {
			q.Say("%s: %s: "+format, append([]any{r.Machine, r.Extension.Name}, args...)...)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, nativePatience, fmt.Errorf("it took more than %s", nativePatience))
	defer cancel()
	res, err := p.native.RestoreExtension(ctx, r)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(err, cause)
	}
	return res.Outcome, res.Reason, res.Heartbeat, err
}

// nativePatience is how long a site may take to restore one extension: clouds give an installation 90 minutes, and an
// agent some minutes for its first heartbeat.
const nativePatience = 2 * time.Hour
