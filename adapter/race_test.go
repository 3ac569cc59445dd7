//go:build race

package adapter_test

// raceDetector tells the exhaustive tests, whose requests take turns, to run a part of
// their schedules: the detector makes each several times as slow. Without it they run all;
// scripts/versions.sh does, on the newest Go.
const raceDetector = true
