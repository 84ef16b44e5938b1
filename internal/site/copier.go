package site

import (
	"context"
	"time"

	"understudy/internal/dr"
)

// Copier is a site that makes a machine from one at another site of the same cloud by what the cloud copies itself: the
// content of the disks does not pass through the controller. Optional.
type Copier interface {
	// CopiesFrom reports whether it can for machines of a site.
	CopiesFrom(from Driver) bool
	// CopyMachine creates q.Machine, stopped, with what the disks of q.Source at q.From hold, all of one instant as near as
	// the cloud comes to one. The source goes on meanwhile. Called again for the same owner it goes on where it was.
	// progress is told bytes of disk.
	CopyMachine(ctx context.Context, q CopyRequest, progress func(done, total int64)) (MachineCopy, error)
	// EndCopy removes what copies for an owner needed at both sites beside the machine that they made. Nothing there is success.
	EndCopy(ctx context.Context, from Driver, owner string) error
}

// Checker is a site that tells before anything is done what its Provision would refuse of a request for what it says.
// Optional.
type Checker interface {
	Check(q ProvisionRequest) error
}

// CopyRequest describes a machine to make from another.
type CopyRequest struct {
	From    Driver
	Source  string // name of the machine there
	Machine dr.Machine
	Set     map[string]string // as of ProvisionRequest
	Owner   string
	// Verify reads both sides at the end and compares them.
	Verify bool
}

// MachineCopy is what was copied.
type MachineCopy struct {
	Instant time.Time      `json:"instant"` // what the copy shows
	Skew    time.Duration  `json:"skew,omitempty"`
	Kind    dr.Consistency `json:"kind"`
	Size    int64          `json:"size"` // bytes, of all disks
	Began   time.Time      `json:"began"`
	Copied  time.Time      `json:"copied"` // when the cloud was done
	// Digests of the content by disk, where it was compared.
	Digests map[string]string `json:"digests,omitempty"`
}
