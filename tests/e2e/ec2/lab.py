"""A served EC2 model and clients for it; every answer is checked against botocore's service model."""

import json
import os
import re
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.config
import botocore.exceptions

NAMESPACE = "{http://ec2.amazonaws.com/doc/2016-11-15/}"
SCALARS = {
    "boolean": re.compile(r"true|false"),
    "integer": re.compile(r"-?\d+"),
    "long": re.compile(r"-?\d+"),
    "string": re.compile(r".*", re.DOTALL),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
}


class Lab(unittest.TestCase):
    """One server per class. Subclasses set `environment` to slow it down or to break it."""

    environment = {}

    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [os.environ["ENID_EC2_SERVER"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **cls.environment},
            text=True,
        )
        cls.addClassCleanup(cls.stop)
        cls.world = json.loads(cls.server.stdout.readline())
        cls.ec2 = cls.client()

    @classmethod
    def stop(cls):
        cls.server.stdin.close()
        cls.server.stdout.close()
        cls.server.wait(timeout=10)

    @classmethod
    def client(cls, **config):
        client = boto3.client(
            "ec2",
            endpoint_url=cls.world["ec2"],
            region_name="eu-central-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=botocore.config.Config(**{"retries": {"total_max_attempts": 1}, **config}),
        )
        client.meta.events.register("before-parse.ec2", check_shape)
        return client

    def create(self, **parameters):
        """A new ENI; in the wide subnet unless said otherwise."""
        parameters = {"SubnetId": self.world["wide"], **parameters}
        return self.ec2.create_network_interface(**parameters)["NetworkInterface"]

    def look(self, eni):
        described = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])
        return described["NetworkInterfaces"][0]

    def attach(self, eni, device, **parameters):
        attached = self.ec2.attach_network_interface(
            NetworkInterfaceId=eni, InstanceId=self.world["instance"], DeviceIndex=device, **parameters
        )
        return attached["AttachmentId"]

    def free(self, subnet):
        described = self.ec2.describe_subnets(SubnetIds=[self.world[subnet]])
        return described["Subnets"][0]["AvailableIpAddressCount"]

    def refused(self, code, status, call, **parameters):
        """Asserts that EC2 refuses with this code and status."""
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**parameters)
        answer = caught.exception.response
        found = (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"])
        self.assertEqual(found, (code, status), answer["Error"]["Message"])
        self.assertTrue(answer["Error"]["Message"])


def check_shape(operation_model, response_dict, **_):
    """Every element has a name, a place and a value that botocore's model knows.

    botocore itself ignores elements that it does not know, so a typo would go unseen.
    """
    root = ElementTree.fromstring(response_dict["body"])
    if response_dict["status_code"] >= 300:
        path = [child.tag for child in root], [child.tag for child in root.find("Errors/Error")]
        assert (root.tag, *path) == ("Response", ["Errors", "RequestID"], ["Code", "Message"]), root.tag
        return
    assert root.tag == f"{NAMESPACE}{operation_model.name}Response", root.tag
    children = {child.tag.removeprefix(NAMESPACE): child for child in root}
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", children.pop("requestId").text)
    if operation_model.output_shape is None:
        # EC2 says so, although the model has no output for these calls.
        assert children.pop("return").text == "true"
    members = operation_model.output_shape.members if operation_model.output_shape else {}
    check_members(members, children, operation_model.name)


def check_members(members, children, path):
    known = {shape.serialization.get("name", name): shape for name, shape in members.items()}
    for name, child in children.items():
        assert name in known, f"{path}/{name} is not in the model"
        check_value(known[name], child, f"{path}/{name}")


def check_value(shape, element, path):
    names = [child.tag.removeprefix(NAMESPACE) for child in element]
    if shape.type_name == "structure":
        assert len(names) == len(set(names)), f"{path} has an element twice: {names}"
        check_members(shape.members, dict(zip(names, element)), path)
    elif shape.type_name == "list":
        expected = shape.member.serialization.get("name", "item")
        assert set(names) <= {expected}, f"{path} has {names} for {expected}"
        for child in element:
            check_value(shape.member, child, f"{path}/{expected}")
    else:
        assert not names, f"{path} has elements inside: {names}"
        assert SCALARS[shape.type_name].fullmatch(element.text or ""), f"{path}: {element.text}"
        if getattr(shape, "enum", None):
            assert element.text in shape.enum, f"{path}: {element.text} is none of {shape.enum}"
