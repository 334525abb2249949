// Package redistest starts Redis servers for tests, and ends them with the test.
//
// There are three kinds: the embedded one, which is always there; an installed redis-server, on a port of the loopback; and
// containers, where Docker is there with their images. A test that needs what is missing is skipped and says why, unless
// the environment variable GATHERQ_REQUIRE, "docker,redis" for both, says that it must not be missing: then it fails.
package redistest
