package controller

import (
	"context"
	"errors"
	"fmt"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// ExamineSite says whether all that a site needs is there, and what the identity that it is used by must be allowed, where
// its provider has such a thing. It changes nothing.
func (c *Controller) ExamineSite(ctx context.Context, name string) (findings []site.Finding, role string, err error) {
	d, err := c.driver(ctx, name)
	if err != nil {
		return nil, "", err
	}
	list, err := d.Machines(ctx)
	if err == nil {
		findings = append(findings, site.Finding{Check: "machines", Status: site.FindingOK, Message: fmt.Sprintf("%d are there", len(list))})
	} else {
		findings = append(findings, site.Finding{Check: "machines", Status: site.FindingFail, Message: err.Error(), Remedy: dr.Hint(err)})
	}
	if e, ok := d.(site.Examiner); ok {
		findings, role = append(findings, e.Examine(ctx)...), e.Role()
	}
	return findings, role, nil
}

// SweepSite removes what Understudy made at a site and what belongs to nothing any more, or lists it.
func (c *Controller) SweepSite(ctx context.Context, name string, listOnly bool) ([]string, error) {
	d, err := c.driver(ctx, name)
	if err != nil {
		return nil, err
	}
	e, ok := d.(site.Examiner)
	if !ok {
		return nil, dr.WithHint(errors.New("this provider leaves nothing to sweep"), dr.KindInvalid, "")
	}
	if listOnly {
		return e.Orphans(ctx)
	}
	return e.RemoveOrphans(ctx)
}
