package site

import "context"

// Rehearser is a site that says which requests its provider would get. Optional. What is there is looked at, and nothing is
// changed; an error is one that would be met. Requests that depend on answers show what is known before.
type Rehearser interface {
	// RehearseProvision is a machine's Provision, and its start when that is wanted.
	RehearseProvision(ctx context.Context, q ProvisionRequest, start bool) ([]ProviderCall, error)
	// RehearseFence is the Fence of a machine.
	RehearseFence(ctx context.Context, machine string) ([]ProviderCall, error)
	// RehearseCopy is a CopyMachine with its EndCopy, where the site is a Copier.
	RehearseCopy(ctx context.Context, q CopyRequest, start bool) ([]ProviderCall, error)
}

// ProviderCall is a request to a provider that changes something.
type ProviderCall struct {
	Method string
	Path   string // with the version of the API
	Body   string // JSON, or what is sent for people
}
