package wire

import "time"

// Hooks are commands in the guest around the freezing of its file systems: a program and its arguments.
type Hooks struct {
	Before []string `json:"before,omitempty" doc:"Prepares the applications; exits with 0 when they are ready"`
	After  []string `json:"after,omitempty" doc:"Lets them go on, also when before failed; it may run more than once"`
}

// PointName gives a recovery point a name.
type PointName struct {
	Name string `json:"name" minLength:"1" maxLength:"63" example:"before-upgrade"`
}

// Mount asks for a disk of a recovery point over NBD.
type Mount struct {
	Machine string   `json:"machine" minLength:"1"`
	Disk    string   `json:"disk" minLength:"1"`
	For     Duration `json:"for,omitempty" doc:"How long; by default 1h, at most 24h" example:"1h"`
}

// Mounted is where a disk of a recovery point is served, at the machine of the controller.
type Mounted struct {
	Grant   string    `json:"grant" doc:"Its ID, to revoke it"`
	Point   string    `json:"point"`
	Disk    string    `json:"disk" doc:"MACHINE/DISK"`
	Size    int64     `json:"size" doc:"Bytes"`
	Expires time.Time `json:"expires"`
	URI     string    `json:"uri" doc:"Of the NBD export; it holds the token, and so is a secret"`
	Socket  string    `json:"socket"`
	Export  string    `json:"export" doc:"The name of the export, which is the token"`
}
