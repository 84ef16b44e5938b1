package wire

import "time"

// Clone asks for a copy of a machine, or for a move of it.
type Clone struct {
	Machine string `json:"machine" minLength:"1"`
	Site    string `json:"site,omitempty" doc:"Where the machine is, for a copy of it as it is now"`
	Group   string `json:"group,omitempty" doc:"The group whose recovery point is copied, instead of a site"`
	Point   string `json:"point,omitempty" doc:"With group: which recovery point; by default the newest"`

	To        string            `json:"to,omitempty" doc:"Site for the copy; by default the machine's own"`
	As        string            `json:"as,omitempty" doc:"Name of the copy; by default the machine's own"`
	CPUs      int               `json:"cpus,omitempty" minimum:"0"`
	MemoryMiB int               `json:"memoryMiB,omitempty" minimum:"0"`
	Format    string            `json:"format,omitempty" enum:"raw,qcow2" doc:"Of its disks"`
	Sizes     map[string]int64  `json:"sizes,omitempty" doc:"Bytes by disk; disks only grow"`
	Networks  map[string]string `json:"networks,omitempty" doc:"The network that stands for another"`
	Set       map[string]string `json:"set,omitempty" doc:"Attributes that only the site understands: KEY of the machine, disk/NAME/KEY, nic/NUMBER/KEY"`
	Verify    bool              `json:"verify,omitempty" doc:"Compare digests also when the cloud copies the disks itself; other copies always are compared"`
	Start     bool              `json:"start,omitempty" doc:"Start the copy; one of a machine that is moved is started when the machine ran"`
}

// Confirm makes a move final.
type Confirm struct {
	DeleteSource bool `json:"deleteSource,omitempty" doc:"Delete the source, which only one that Understudy made can be"`
}

// Grant is access to a disk for a limited time.
type Grant struct {
	ID      string     `json:"id"`
	Run     string     `json:"run" doc:"The copy that reads or writes by it; empty of a download or a mount"`
	Disk    string     `json:"disk" doc:"SITE/MACHINE/DISK, or GROUP@POINT/MACHINE/DISK"`
	By      string     `json:"by,omitempty" doc:"Who asked for it; of a copy, its run tells"`
	Access  string     `json:"access" enum:"read,write"`
	Issued  time.Time  `json:"issued"`
	Expires time.Time  `json:"expires"`
	Renewed int        `json:"renewed"`
	Ended   *time.Time `json:"ended,omitempty"`
	Reason  string     `json:"reason,omitempty"`
}
