package azure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"understudy/internal/dr"
)

// Preserve implements site.Preserver: the disks that are attached now are kept when others take their places.
func (s *Site) Preserve(ctx context.Context, machine string) error {
	defer s.alone(machine)()
	fail := func(err error) error { return fmt.Errorf("preserve %s: %w", machine, explain(err)) }
	v, _, err := s.find(ctx, machine)
	switch {
	case err != nil:
		return fail(err)
	case v != nil && v.Properties.InstanceView.power() != "deallocated":
		return fail(dr.WithHint(errors.New("the machine runs"), dr.KindConflict, "stop it first"))
	case s.busy(machine, ""):
		return fail(dr.WithHint(errors.New("a disk of it is in use"), dr.KindConflict, "wait for the copy that uses it"))
	}
	s.mu.Lock()
	_, kept := s.state.Kept[strings.ToLower(machine)]
	s.mu.Unlock()
	if kept {
		return nil
	}
	// What was written before is part of what is kept.
	if err := s.finish(ctx, machine); err != nil {
		return fail(err)
	}
	v, p, err := s.find(ctx, machine)
	if err != nil {
		return fail(err)
	}
	all, err := s.parts(ctx, v, p, machine)
	if err != nil {
		return fail(err)
	}
	ids := map[string]string{}
	for _, one := range all {
		ids[one.name] = one.id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Kept[strings.ToLower(machine)] = ids
	return s.save()
}

// Settle implements site.Preserver.
func (s *Site) Settle(ctx context.Context, machine string, accept bool) error {
	defer s.alone(machine)()
	fail := func(err error) error { return fmt.Errorf("settle %s: %w", machine, explain(err)) }
	v, p, err := s.find(ctx, machine)
	if err != nil {
		return fail(err)
	}
	s.mu.Lock()
	kept := s.state.Kept[strings.ToLower(machine)]
	s.mu.Unlock()
	if kept == nil {
		return nil
	}
	running := v != nil && v.Properties.InstanceView.power() != "deallocated"
	switch {
	case !accept && running:
		return fail(dr.WithHint(errors.New("the machine runs"), dr.KindConflict, "stop it first"))
	case s.busy(machine, ""):
		return fail(dr.WithHint(errors.New("a disk of it is in use"), dr.KindConflict, "wait for the copy that uses it"))
	}
	// What is written and not attached yet is attached, so that there are two sets of disks: the kept and the attached.
	if !running {
		if err := s.finish(ctx, machine); err != nil {
			return fail(err)
		}
		if v, p, err = s.find(ctx, machine); err != nil {
			return fail(err)
		}
		if !accept {
			s.mu.Lock()
			delete(s.state.Kept, strings.ToLower(machine)) // what is detached now is given up
			s.mu.Unlock()
			if err := s.place(ctx, machine, v, p, kept); err != nil {
				s.mu.Lock()
				s.state.Kept[strings.ToLower(machine)] = kept
				s.mu.Unlock()
				return fail(err)
			}
			return nil
		}
	}
	all, err := s.parts(ctx, v, p, machine)
	if err != nil {
		return fail(err)
	}
	attached := map[string]bool{}
	for _, one := range all {
		attached[strings.ToLower(one.id)] = true
	}
	for _, id := range kept {
		if !attached[strings.ToLower(id)] {
			err = errors.Join(err, s.deleteDisk(ctx, id))
		}
	}
	if err != nil {
		return fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.state.Kept, strings.ToLower(machine))
	return s.save()
}
