"""Deployments in progress."""

from fob.engine.api.base import MarathonHandler


class DeploymentsHandler(MarathonHandler):
    def get(self) -> None:
        self.send([deployment.json() for deployment in self.supervisor.deployments.all()])


class DeploymentHandler(MarathonHandler):
    def delete(self, deployment_id: str) -> None:
        """Roll it back by another deployment; with `?force=true` just stop it where it is."""
        deployment = self.supervisor.deployments.get(deployment_id)
        if self.flag("force"):
            self.supervisor.deployments.cancel(deployment)
            self.set_status(202)
            self.set_header("Content-Type", "application/json")
        else:
            self.send_deployment(self.changes.roll_back(deployment))
