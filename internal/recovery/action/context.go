// Package action carries out what a recovery plan asks for outside of Understudy: programs on the controller and HTTP
// requests. It describes the recovery to them (Context), finds secrets and keeps their values out of what is reported.
// It keeps no record: what was done already is for its caller to know.
package action

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// A Context describes a recovery to programs, as JSON. The fields with capitals are those of Site Recovery's
// RecoveryPlanContext and keep their meaning, so that scripts written for it find what they look for; Understudy holds
// what it has no word for.
type Context struct {
	RecoveryPlanName  string        `json:"RecoveryPlanName"`
	FailoverType      string        `json:"FailoverType"`      // Test, Planned or Unplanned
	FailoverDirection string        `json:"FailoverDirection"` // PrimaryToSecondary or SecondaryToPrimary
	GroupId           string        `json:"GroupId"`           //nolint:revive // the name in Site Recovery. The stage, from 1; 0 for the plan's own actions
	VmMap             map[string]VM `json:"VmMap"`             //nolint:revive // the machines of the stage, or all, by their name in the group

	Understudy Details `json:"Understudy"`
}

// A VM is a machine as Site Recovery describes it.
type VM struct {
	SubscriptionId    string `json:"SubscriptionId"`    //nolint:revive // as above. Empty: sites have none
	ResourceGroupName string `json:"ResourceGroupName"` // the target site; empty before the machine is created
	CloudServiceName  string `json:"CloudServiceName"`  // the isolation of a test, else the target site; empty as above
	RoleName          string `json:"RoleName"`          // the machine's name at the target
	RecoveryPointId   string `json:"RecoveryPointId"`   //nolint:revive // as above
}

// Details are what Understudy says beyond Site Recovery.
type Details struct {
	Run       string    `json:"run"`
	Kind      string    `json:"kind"`      // test, planned or unplanned
	Direction string    `json:"direction"` // failover or failback
	Group     string    `json:"group"`
	Source    string    `json:"source"`
	Target    string    `json:"target"`
	Vault     string    `json:"vault"`
	Requested time.Time `json:"requested"`
	Point     Point     `json:"point"`
	Plan      string    `json:"plan"`
	Version   int       `json:"version"`
	Stage     string    `json:"stage,omitempty"` // empty for the plan's own actions
	Action    string    `json:"action"`
	Attempt   int       `json:"attempt"` // from 1
	// IdempotencyKey is the same for every attempt of the action in the run, and for no other.
	IdempotencyKey string            `json:"idempotencyKey"`
	Variables      map[string]string `json:"variables,omitempty"`
	Machines       []Machine         `json:"machines"` // of the whole group
}

// Point is the recovery point that is recovered.
type Point struct {
	ID   string    `json:"id,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

// Machine is a machine of the group.
type Machine struct {
	Name    string    `json:"name"`             // in the group
	As      string    `json:"as"`               // its name at the target
	Stage   string    `json:"stage"`            // in which it starts
	Started time.Time `json:"started,omitzero"` // at the target
	Healthy time.Time `json:"healthy,omitzero"` // when its probe passed
	Ports   []Port    `json:"ports,omitempty"`  // where the controller reaches it
}

// Port says where a TCP port of a machine is reached.
type Port struct {
	Guest   int    `json:"guest"`
	Address string `json:"address"` // host:port
}

// Key is the idempotency key of an action of a run.
func Key(run, action string) string {
	sum := sha256.Sum256([]byte(run + "\x00" + action))
	return hex.EncodeToString(sum[:16])
}
